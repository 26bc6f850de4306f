//! What the maps hold, read back.

use std::sync::atomic::Ordering::Acquire;

use lb_abi::{
    Config, FILTER_WORDS, FlowKey4, FlowKey6, FlowValue4, FlowValue6, RING_SIZES, SocketKey,
    SocketValue,
};
use zerocopy::IntoBytes;

use super::{BACKEND_WORDS, Backend, Error, Group, Maps, failed, map};
use crate::op::{Contents, FrontendKey};

impl Maps {
    /// All that steps have written. Nobody should be writing meanwhile.
    ///
    /// # Errors
    /// [`Error::Map`] when the kernel cannot be asked.
    pub fn contents(&self) -> Result<Contents, Error> {
        let frontends4 = self.frontends4.entries();
        let frontends4 = frontends4.map_err(failed(map::FRONTENDS4))?.into_iter();
        let frontends6 = self.frontends6.entries();
        let frontends6 = frontends6.map_err(failed(map::FRONTENDS6))?.into_iter();
        let node_addresses = self.node_addresses.entries();
        let node_addresses = node_addresses.map_err(failed(map::NODE_ADDRESSES))?;
        let mut contents = Contents {
            frontends: frontends4
                .map(|(key, frontend)| (FrontendKey::V4(key), frontend))
                .chain(frontends6.map(|(key, frontend)| (FrontendKey::V6(key), frontend)))
                .collect(),
            node_addresses: node_addresses.into_iter().collect(),
            config: self.config(),
            ..Contents::default()
        };
        self.read_groups(&mut contents);
        self.read_backends(&mut contents);
        let words = self.filters.words64().iter();
        let words: Vec<u64> = words.map(|word| word.load(Acquire)).collect();
        for (filter, words) in contents.filters.iter_mut().zip(words.chunks(FILTER_WORDS)) {
            *filter = words.to_vec();
        }
        Ok(contents)
    }

    /// The configuration; `None` where there never was one.
    #[must_use]
    pub fn config(&self) -> Option<Config> {
        Some(self.read_config()).filter(|config| config.host_namespace != 0)
    }

    pub(super) fn read_config(&self) -> Config {
        let mut words = [0u64; size_of::<Config>() / 8];
        for (word, place) in words.iter_mut().zip(self.config.words64()) {
            *word = place.load(Acquire);
        }
        zerocopy::transmute!(words)
    }

    fn read_groups(&self, contents: &mut Contents) {
        let (slots, rings) = (self.slots.words32(), self.rings.words16());
        for (id, word) in self.groups.words64().iter().enumerate() {
            let word = word.load(Acquire);
            if word == 0 {
                continue;
            }
            let group = Group::unpack(word);
            contents.groups.insert(id as u32, group);
            let first = group.first_slot as usize;
            if let Some(list) = slots.get(first..first + usize::from(group.count))
                && group.count > 0
            {
                let list = list.iter().map(|slot| slot.load(Acquire)).collect();
                contents.slots.insert(group.first_slot, list);
            }
            let start = group.ring_start as usize;
            let size = RING_SIZES.get(usize::from(group.ring_class));
            let size = size.copied().unwrap_or_default() as usize;
            if let Some(ring) = rings.get(start..start + size)
                && size > 0
            {
                let ring = ring.iter().map(|ordinal| ordinal.load(Acquire)).collect();
                contents.rings.insert(group.ring_start, ring);
            }
        }
    }

    fn read_backends(&self, contents: &mut Contents) {
        let rows = self.backends.words64().chunks_exact(BACKEND_WORDS);
        for (id, row) in rows.enumerate() {
            let mut backend = Backend::default();
            let words: [u64; BACKEND_WORDS] = std::array::from_fn(|index| row[index].load(Acquire));
            backend.as_mut_bytes().copy_from_slice(words.as_bytes());
            if backend != Backend::default() {
                contents.backends.insert(id as u32, backend);
            }
        }
    }

    /// Entries of IPv4 flows, two for each.
    ///
    /// # Errors
    /// [`Error::Map`] when the kernel cannot be asked.
    pub fn flows4(&self) -> Result<Vec<(FlowKey4, FlowValue4)>, Error> {
        self.flows4.entries().map_err(failed(map::FLOWS4))
    }

    /// Entries of IPv6 flows, two for each.
    ///
    /// # Errors
    /// [`Error::Map`] when the kernel cannot be asked.
    pub fn flows6(&self) -> Result<Vec<(FlowKey6, FlowValue6)>, Error> {
        self.flows6.entries().map_err(failed(map::FLOWS6))
    }

    /// Sockets that were given a backend.
    ///
    /// # Errors
    /// [`Error::Map`] when the kernel cannot be asked.
    pub fn sockets(&self) -> Result<Vec<(SocketKey, SocketValue)>, Error> {
        self.sockets.entries().map_err(failed(map::SOCKETS))
    }
}
