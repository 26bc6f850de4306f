//! Somebody else's program and map, and a look at what is pinned.
#![expect(
    unsafe_code,
    reason = "a program in the kernel's own instructions is loaded by the bare system call"
)]

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;

use aya::maps::{Array, Map, MapData};
use aya::programs::TcAttachType;
use aya_obj::generated::{bpf_attach_type, bpf_attr, bpf_cmd, bpf_map_type, bpf_prog_type};
use nix::libc;

use crate::place::version;

/// Counts packets and passes them on: what another owner may have at an interface. Gone when dropped.
pub(crate) struct Foreign {
    counter: Array<MapData, u64>,
    _program: OwnedFd,
    _link: OwnedFd,
}

impl Foreign {
    pub(crate) fn attach(interface: &str, direction: TcAttachType) -> Self {
        Self::try_attach(interface, direction).unwrap()
    }

    /// As many as an interface takes for what comes in.
    pub(crate) fn crowd(interface: &str) -> Vec<Self> {
        std::iter::from_fn(|| Self::try_attach(interface, TcAttachType::Ingress).ok()).collect()
    }

    fn try_attach(interface: &str, direction: TcAttachType) -> io::Result<Self> {
        let array = bpf_map_type::BPF_MAP_TYPE_ARRAY as u32;
        let shape = aya_obj::Map::new_from_params(array, 4, 8, 1, 0);
        let map = MapData::create(shape, "foreign", None).unwrap();
        let program = load(&[
            // The key, 0, on the stack; its address.
            instruction(0x62, 10, 0, -4, 0),
            instruction(0xbf, 2, 10, 0, 0),
            instruction(0x07, 2, 0, 0, -4),
            // The map; look up; one more; TCX_NEXT.
            instruction(0x18, 1, 1, 0, map.fd().as_fd().as_raw_fd()),
            instruction(0, 0, 0, 0, 0),
            instruction(0x85, 0, 0, 0, 1),
            instruction(0x15, 0, 0, 2, 0),
            instruction(0xb7, 1, 0, 0, 1),
            instruction(0xdb, 0, 1, 0, 0),
            instruction(0xb7, 0, 0, 0, -1),
            instruction(0x95, 0, 0, 0, 0),
        ]);
        let mut attr = zeroed();
        attr.link_create.__bindgen_anon_1.prog_fd = program.as_raw_fd().cast_unsigned();
        let index = nix::net::if_::if_nametoindex(interface).unwrap();
        attr.link_create.__bindgen_anon_2.target_ifindex = index;
        attr.link_create.attach_type = match direction {
            TcAttachType::Ingress => bpf_attach_type::BPF_TCX_INGRESS as u32,
            TcAttachType::Egress => bpf_attach_type::BPF_TCX_EGRESS as u32,
            TcAttachType::Custom(parent) => panic!("TCX has no place {parent}"),
        };
        Ok(Self {
            _link: descriptor(bpf_cmd::BPF_LINK_CREATE, &mut attr)?,
            _program: program,
            counter: Map::from_map_data(map).unwrap().try_into().unwrap(),
        })
    }

    /// How many it has seen.
    pub(crate) fn packets(&self) -> u64 {
        self.counter.get(&0, 0).unwrap()
    }
}

fn load(instructions: &[u64]) -> OwnedFd {
    let mut attr = zeroed();
    attr.__bindgen_anon_3.prog_type = bpf_prog_type::BPF_PROG_TYPE_SCHED_CLS as u32;
    attr.__bindgen_anon_3.insns = instructions.as_ptr() as u64;
    attr.__bindgen_anon_3.insn_cnt = u32::try_from(instructions.len()).unwrap();
    attr.__bindgen_anon_3.license = c"GPL".as_ptr() as u64;
    descriptor(bpf_cmd::BPF_PROG_LOAD, &mut attr).unwrap()
}

/// A `struct bpf_insn`.
fn instruction(code: u8, destination: u8, source: u8, offset: i16, immediate: i32) -> u64 {
    u64::from(code)
        | u64::from(destination | source << 4) << 8
        | u64::from(offset.cast_unsigned()) << 16
        | u64::from(immediate.cast_unsigned()) << 32
}

fn zeroed() -> bpf_attr {
    // SAFETY: all members of the union are numbers throughout, for which zeros are a value.
    unsafe { std::mem::zeroed() }
}

fn descriptor(command: bpf_cmd, attr: &mut bpf_attr) -> io::Result<OwnedFd> {
    let size = size_of::<bpf_attr>();
    // SAFETY: what the argument points to is read only, and outlives the call in all callers.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command as libc::c_long,
            std::ptr::from_mut(attr),
            size,
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made it for us.
    Ok(unsafe { OwnedFd::from_raw_fd(i32::try_from(result).unwrap()) })
}

/// `Config::epoch` in the maps below a root.
pub(crate) fn epoch(pin_root: &Path) -> u32 {
    let data = MapData::from_pin(pin_root.join(version()).join("maps/CONFIG")).unwrap();
    let config: Array<_, [u8; 88]> = Map::from_map_data(data).unwrap().try_into().unwrap();
    let bytes = config.get(&0, 0).unwrap();
    u32::from_ne_bytes(bytes[8..12].try_into().unwrap())
}
