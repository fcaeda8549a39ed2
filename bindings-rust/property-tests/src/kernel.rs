//! The kernel of the programs: what it writes depends on every byte that it reads. The model runs the same code.

use engram_um_sys as sys;
use std::mem::size_of;
use std::slice;

/// Most arguments that a launch here has.
pub const MOST: usize = 4;

/// What a launch carries along.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Params {
    pub seed: u64,
    /// Of the source; 0: there is none.
    pub rows: usize,
    pub row_bytes: usize,
    /// 1: do not look at the bytes, because the model does not know some of them.
    pub blind: i32,
    /// What the callback returns once it has done its work; not 0: the job fails.
    pub code: i32,
    pub access: [i32; MOST],
}

/// An argument, on whatever side the kernel runs. Only arguments that are written are exclusive.
#[derive(Clone, Copy)]
pub struct Argument {
    pub address: *mut u8,
    pub bytes: usize,
}

/// A stream of numbers from one.
pub struct Numbers(pub u64);

impl Numbers {
    pub fn next(&mut self) -> u64 {
        // SplitMix64
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}

/// Bytes that are decent floats where they are aligned: what the CPU writes.
pub fn pattern(seed: u64, bytes: usize) -> Vec<u8> {
    let mut numbers = Numbers(seed);
    let mut float = || (numbers.next() >> 40) as f32 / (1 << 23) as f32 - 1.0;
    let mut made = (0..bytes / 4 + 1).flat_map(|_| float().to_ne_bytes()).collect::<Vec<_>>();
    made.truncate(bytes);
    made
}

fn mix(mut hash: u64, bytes: &[u8]) -> u64 {
    let mut chunks = bytes.chunks_exact(8);
    for chunk in &mut chunks {
        let mut word = [0; 8];
        word.copy_from_slice(chunk);
        hash = (hash ^ u64::from_ne_bytes(word)).wrapping_mul(0x0000_0100_0000_01B3).rotate_left(23);
    }
    for byte in chunks.remainder() {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01B3).rotate_left(23);
    }
    hash ^ bytes.len() as u64
}

/// # Safety
/// Each argument is valid for its bytes: to read where it is read, to write where it is written, and then overlaps no other.
pub unsafe fn work(params: &Params, arguments: &[Argument]) {
    let mut hash = params.seed;
    if params.blind == 0 {
        for (argument, &access) in arguments.iter().zip(&params.access) {
            if access != sys::EUM_ACCESS_OVERWRITE {
                // SAFETY: as the caller says.
                hash = mix(hash, unsafe { slice::from_raw_parts(argument.address, argument.bytes) });
            }
        }
    }
    for (index, (argument, &access)) in arguments.iter().zip(&params.access).enumerate() {
        if access == sys::EUM_ACCESS_READ {
            continue;
        }
        // SAFETY: as the caller says.
        let bytes = unsafe { slice::from_raw_parts_mut(argument.address, argument.bytes) };
        let mut numbers = Numbers(hash ^ index as u64);
        if access == sys::EUM_ACCESS_OVERWRITE {
            for chunk in bytes.chunks_mut(8) {
                chunk.copy_from_slice(&numbers.next().to_ne_bytes()[..chunk.len()]);
            }
        } else {
            for at in written(params.seed, bytes.len()) {
                bytes[at] = numbers.next() as u8;
            }
        }
    }
}

/// The same with a source, for some of its rows: each row makes its part of what is written, from its own bytes and those that are only read.
///
/// # Safety
/// As for `work`.
pub unsafe fn work_on_rows(params: &Params, arguments: &[Argument], source: &[u8], first: usize) {
    let mut hash = params.seed;
    for (argument, &access) in arguments.iter().zip(&params.access) {
        if access == sys::EUM_ACCESS_READ && params.blind == 0 {
            // SAFETY: as the caller says.
            hash = mix(hash, unsafe { slice::from_raw_parts(argument.address, argument.bytes) });
        }
    }
    for (row, bytes) in source.chunks(params.row_bytes).enumerate() {
        let (row, hash) = (first + row, mix(hash, bytes));
        for (index, (argument, &access)) in arguments.iter().zip(&params.access).enumerate() {
            if access == sys::EUM_ACCESS_READ {
                continue;
            }
            let part = argument.bytes * row / params.rows..argument.bytes * (row + 1) / params.rows;
            // SAFETY: as the caller says.
            let bytes = unsafe { slice::from_raw_parts_mut(argument.address, argument.bytes) };
            let mut numbers = Numbers(hash ^ index as u64);
            if access == sys::EUM_ACCESS_OVERWRITE {
                for chunk in bytes[part].chunks_mut(8) {
                    chunk.copy_from_slice(&numbers.next().to_ne_bytes()[..chunk.len()]);
                }
            } else {
                for at in written(params.seed, bytes.len()).filter(|at| part.contains(at)) {
                    bytes[at] = numbers.next() as u8;
                }
            }
        }
    }
}

/// The bytes that a read_write argument changes: a few far apart, the others keep their value.
pub fn written(seed: u64, bytes: usize) -> impl Iterator<Item = usize> {
    let stride = [1, 3, 1000, 70_000][seed as usize % 4];
    ((seed >> 8) as usize % (stride + 1)..bytes).step_by(stride)
}

/// The same as a CPU callback of the library.
pub unsafe extern "C" fn callback(call: *const sys::eum_kernel_call) -> i32 {
    // SAFETY: the library's call is valid until this returns.
    let call = unsafe { &*call };
    if call.struct_size < size_of::<sys::eum_kernel_call>()
        || call.params_bytes != size_of::<Params>()
        || call.count > MOST
    {
        return 1;
    }
    // SAFETY: the launch gave a Params, and the library's copy is aligned to 16 bytes.
    let params = unsafe { *call.params.cast::<Params>() };
    let mut arguments = Vec::with_capacity(call.count);
    for index in 0..call.count {
        // SAFETY: the library gives `count` addresses and sizes.
        let (address, bytes) = unsafe { (*call.addresses.add(index), *call.bytes.add(index)) };
        if address.is_null() {
            return 2;
        }
        arguments.push(Argument { address: address.cast(), bytes });
    }
    if call.source.is_null() != (params.rows == 0) || (call.first_row + call.rows) as usize > params.rows {
        return 3;
    }
    // SAFETY: the library gives memory that the launch asked for; overlaps with a written view are refused before.
    unsafe {
        if params.rows == 0 {
            work(&params, &arguments);
        } else {
            let source = slice::from_raw_parts(call.source.cast::<u8>(), call.rows as usize * params.row_bytes);
            work_on_rows(&params, &arguments, source, call.first_row as usize);
        }
    }
    params.code
}
