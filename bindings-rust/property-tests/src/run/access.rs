//! Steps of the CPU: maps, writes and reads.

use super::*;

impl Machine {
    pub(super) fn map(&mut self, used: Use, seed: u64) -> Outcome {
        let mut address = ptr::null_mut();
        // SAFETY: the handle is alive, the output valid.
        let status = unsafe { sys::eum_buffer_map(self.view(used), used.access, &mut address) };
        if !expect(status, &self.refusals(used), "eum_buffer_map")? {
            return Ok(());
        }
        let address = address.cast::<u8>();
        self.maps.push(Map {
            buffer: self.handle(used),
            offset: used.offset,
            bytes: used.bytes,
            access: used.access,
            address,
        });
        if address.is_null() {
            return Err("eum_buffer_map gave NULL".into());
        }
        if used.bytes == 0 {
            return Ok(());
        }
        let base = address as usize - used.offset;
        if *self.buffers[used.buffer].address.get_or_insert(base) != base {
            return Err(format!("the buffer's address changed to {base:#x}"));
        }
        // SAFETY: the map covers these bytes, and this is the CPU's turn on them.
        let mapped = unsafe { slice::from_raw_parts(address, used.bytes) };
        if used.access != sys::EUM_ACCESS_OVERWRITE {
            let (bytes, known) = self.model(used);
            compare(mapped, bytes, known, "the mapped bytes")?;
        }
        if used.writes() {
            let new = pattern(seed, used.bytes);
            // An overwrite writes every byte, a read_write may leave some.
            let all = used.access == sys::EUM_ACCESS_OVERWRITE;
            let stride = if all { 1 } else { [1, 2, 5000][seed as usize % 3] };
            let (bytes, known) = self.model(used);
            for at in (0..bytes.len()).step_by(stride) {
                // SAFETY: within the map, which is exclusive.
                unsafe { address.add(at).write(new[at]) };
                (bytes[at], known[at]) = (new[at], true);
            }
            self.define(used, true);
        }
        Ok(())
    }

    pub(super) fn unmap(&mut self, pick: Pick) -> Outcome {
        if self.maps.is_empty() {
            return Ok(());
        }
        let Map { buffer, address, .. } = self.maps[pick % self.maps.len()];
        // The newest of those with this address ends.
        let newest = self.maps.iter().rposition(|map| map.buffer == buffer && map.address == address);
        let map = self.maps.remove(newest.ok_or("no such map")?);
        let index = self.buffers.iter().position(|b| b.handle == buffer).ok_or("a map without a buffer")?;
        if map.bytes > 0 {
            // SAFETY: the map still lives.
            let mapped = unsafe { slice::from_raw_parts(map.address, map.bytes) };
            let used = Use { buffer: index, offset: map.offset, bytes: map.bytes, access: map.access };
            let (bytes, known) = self.model(used);
            compare(mapped, bytes, known, "the bytes while they were mapped")?;
        }
        // SAFETY: ends the map; nothing uses its address after, unless an older map has the same.
        ok(unsafe { sys::eum_buffer_unmap(buffer, address.cast()) }, "eum_buffer_unmap")
    }

    pub(super) fn write(&mut self, used: Use, seed: u64) -> Outcome {
        let mut new = pattern(seed, used.bytes);
        // SAFETY: `new` holds the view's bytes.
        let status = unsafe { sys::eum_buffer_write(self.view(used), new.as_ptr().cast()) };
        if !self.may_refuse_empty(used, status) && expect(status, &self.refusals(used), "eum_buffer_write")? {
            let (bytes, known) = self.model(used);
            bytes.copy_from_slice(&new);
            known.fill(true);
            self.define(used, true);
        }
        new.fill(0xEE); // "src may be reused on return"
        Ok(())
    }

    /// A write of no bytes to a read-only buffer: refused or not, both are right.
    pub(super) fn may_refuse_empty(&self, used: Use, status: sys::eum_status) -> bool {
        used.bytes == 0 && used.writes() && self.buffers[used.buffer].read_only && status == sys::EUM_OK
    }

    /// The bytes as the library reads them, compared; `None` where a map keeps them from being read.
    pub(super) fn read(&mut self, used: Use) -> Outcome<Option<Vec<u8>>> {
        let mut bytes = vec![0xEE_u8; used.bytes];
        // SAFETY: there is room for the view's bytes.
        let status = unsafe { sys::eum_buffer_read(self.view(used), bytes.as_mut_ptr().cast()) };
        if !expect(status, &self.refusals(used), "eum_buffer_read")? {
            return Ok(None);
        }
        let (model, known) = self.model(used);
        compare(&bytes, model, known, "the bytes read")?;
        Ok(Some(bytes))
    }
}
