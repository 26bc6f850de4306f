use std::collections::BTreeSet;

use lb_abi::RING_SIZES;

use super::{mix, ring, ring_class};

/// Numbers that look random and are the same in every run.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// Addresses of pods in a random /24, as 16 bytes.
    fn names(&mut self, count: usize) -> Vec<[u8; 16]> {
        let mut names = BTreeSet::new();
        while names.len() < count {
            let mut name = [0; 16];
            name[10..12].fill(0xff);
            name[12..]
                .copy_from_slice(&(0x0a00_0000 | self.next() as u32 & 0xf_ffff).to_be_bytes());
            names.insert(name);
        }
        names.into_iter().collect()
    }
}

fn counts(ring: &[u16], names: usize) -> Vec<usize> {
    let mut counts = vec![0; names];
    for ordinal in ring {
        counts[usize::from(*ordinal)] += 1;
    }
    counts
}

/// Parts of all places that changed their backend although the old one is still there.
fn unforced(old: &[[u8; 16]], new: &[[u8; 16]], size: u32) -> f64 {
    let (before, after) = (ring(size, 7, old), ring(size, 7, new));
    let still: BTreeSet<_> = old.iter().filter(|name| new.contains(name)).collect();
    let fresh: BTreeSet<_> = new.iter().filter(|name| !old.contains(name)).collect();
    let moved = before.iter().zip(&after).filter(|(before, after)| {
        let (before, after) = (&old[usize::from(**before)], &new[usize::from(**after)]);
        before != after && still.contains(before) && !fresh.contains(after)
    });
    moved.count() as f64 / f64::from(size)
}

#[test]
fn the_size_is_the_smallest_that_has_a_hundred_places_for_each_backend() {
    for (backends, maximum, size) in [
        (0, 16381, 0),
        (1, 16381, 251),
        (2, 16381, 251),
        (3, 16381, 509),
        (5, 16381, 509),
        (6, 16381, 1021),
        (10, 16381, 1021),
        (11, 16381, 2039),
        (163, 16381, 16381),
        (164, 16381, 16381),
        (164, 131_071, 32749),
        (5000, 131_071, 131_071),
        (10, 509, 509),
        (10, 600, 509),
        (10, 1, 251),
    ] {
        let class = ring_class(backends, maximum);
        assert_eq!(
            RING_SIZES[usize::from(class)],
            size,
            "{backends} backends, at most {maximum}"
        );
    }
}

#[test]
fn every_place_has_a_backend_and_shares_are_equal() {
    let mut numbers = Numbers(1);
    for backends in [1, 2, 3, 5, 10, 20, 40, 81, 163] {
        let size = RING_SIZES[usize::from(ring_class(backends, 16381))];
        let ring = ring(size, 7, &numbers.names(backends));
        assert_eq!(ring.len(), size as usize);
        let counts = counts(&ring, backends);
        let (least, most) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
        assert!(most - least <= 1, "{backends}: {least} to {most}");
        let mean = f64::from(size) / backends as f64;
        assert!(*most as f64 / mean <= 1.01, "{backends}: {most} of {mean}");
    }
}

#[test]
fn a_ring_that_is_too_small_still_serves_every_backend() {
    let mut numbers = Numbers(2);
    let ring = ring(251, 7, &numbers.names(250));
    let counts = counts(&ring, 250);
    assert!(counts.iter().all(|count| (1..=2).contains(count)));
}

#[test]
fn no_backends_no_ring_and_one_has_it_all() {
    assert!(ring::<[u8; 4]>(251, 7, &[]).is_empty());
    assert_eq!(ring(251, 7, &["alone"]), vec![0; 251]);
}

#[test]
fn the_order_of_names_does_not_matter() {
    let mut numbers = Numbers(3);
    for _ in 0..20 {
        let names = numbers.names(9);
        let mut shuffled = names.clone();
        for index in (1..shuffled.len()).rev() {
            shuffled.swap(index, numbers.next() as usize % (index + 1));
        }
        let chosen = |names: &[[u8; 16]]| -> Vec<[u8; 16]> {
            let ring = ring(1021, 7, names);
            ring.into_iter()
                .map(|ordinal| names[usize::from(ordinal)])
                .collect()
        };
        assert_eq!(chosen(&names), chosen(&shuffled));
    }
}

#[test]
fn seeds_give_different_rings() {
    let names = Numbers(4).names(10);
    let (first, second) = (ring(1021, 1, &names), ring(1021, 2, &names));
    let same = first.iter().zip(&second).filter(|(a, b)| a == b).count();
    assert!(
        (50..200).contains(&same),
        "{same} of 1021, a tenth expected"
    );
}

#[test]
fn nodes_agree_for_ever() {
    let names: Vec<[u8; 4]> = (1..=3).map(|last| [10, 0, 0, last]).collect();
    let ring = ring(251, 0, &names);
    let text: String = ring[..40].iter().map(u16::to_string).collect();
    assert_eq!(text, "1200121022111011101120022102210001020121");
}

/// What may move without need at worst. Of few places each is a greater part: the smallest rings, of services with a handful of backends, do
/// worse than the 2 % that all others keep.
fn most_that_moves(size: u32) -> f64 {
    match size {
        251 => 0.0,
        509 => 0.05,
        1021 => 0.035,
        _ => 0.02,
    }
}

#[test]
fn few_places_move_without_need_when_a_backend_comes_or_goes() {
    let mut numbers = Numbers(5);
    let mut least_backends = 2;
    for (class, size) in RING_SIZES.into_iter().enumerate().skip(1) {
        let most_backends = size as usize / 100;
        let sets = match size {
            0..5000 => 60,
            5000..20_000 => 6,
            _ => 1,
        };
        for backends in [least_backends, most_backends] {
            let (mut sum, mut worst) = (0.0, 0.0f64);
            for _ in 0..sets {
                let names = numbers.names(backends);
                let mut fewer = names.clone();
                fewer.remove(numbers.next() as usize % backends);
                let gone = unforced(&names, &fewer, size);
                let back = unforced(&fewer, &names, size);
                assert!(
                    (gone - back).abs() < f64::EPSILON,
                    "removal and addition mirror each other"
                );
                sum += gone;
                worst = worst.max(gone);
            }
            let mean = sum / f64::from(sets);
            println!(
                "class {class}, size {size}, {backends} backends: mean {:.2} %, worst {:.2} %",
                mean * 100.0,
                worst * 100.0
            );
            assert!(mean <= 0.02, "size {size}, {backends} backends: {mean}");
            assert!(
                worst <= most_that_moves(size),
                "size {size}, {backends} backends: {worst}"
            );
        }
        least_backends = most_backends + 1;
    }
}
