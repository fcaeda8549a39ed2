//! Steps that make, wrap, give up and end buffers.

use super::*;

impl Machine {
    pub(super) fn create(&mut self, bytes: usize, role: i32, zeroed: bool) -> Outcome {
        let flags = if zeroed { sys::EUM_BUFFER_ZEROED } else { 0 };
        let config = sys::eum_buffer_config { role, flags, ..sys::eum_buffer_config::INIT };
        let mut handle = ptr::null_mut();
        // SAFETY: the context is alive; configuration and output are valid.
        let status = unsafe { sys::eum_buffer_create(self.context, bytes, &config, &mut handle) };
        if !permit(status, &[], self.pressure(), "eum_buffer_create")? {
            return Ok(());
        }
        let (bytes, known, undefined) = (vec![0; bytes], vec![zeroed; bytes], vec![false; bytes]);
        self.buffers.push(Buffer { handle, bytes, known, undefined, read_only: false, outside: None, address: None });
        Ok(())
    }

    pub(super) fn wrap(&mut self, bytes: usize, role: i32, read_only: bool, owned: bool) -> Outcome {
        let contents = pattern(bytes as u64, bytes);
        let outside = Outside { address: allocate(&contents), bytes, owned, released: Box::new(AtomicU32::new(0)) };
        let config = sys::eum_wrap_config {
            address: outside.address.cast(),
            bytes,
            ownership: if owned { sys::EUM_OWNED } else { sys::EUM_BORROWED },
            flags: if read_only { sys::EUM_WRAP_READ_ONLY } else { 0 },
            role,
            release: if owned { Some(count_release) } else { None },
            release_user: if owned { ptr::addr_of!(*outside.released).cast_mut().cast() } else { ptr::null_mut() },
            ..sys::eum_wrap_config::INIT
        };
        let mut handle = ptr::null_mut();
        // SAFETY: the memory lives until the buffer has ended, and only the library uses it until then.
        ok(unsafe { sys::eum_buffer_wrap(self.context, &config, &mut handle) }, "eum_buffer_wrap")?;
        let address = Some(outside.address as usize).filter(|_| bytes > 0);
        let (known, undefined) = (vec![true; bytes], vec![false; bytes]);
        let outside = Some(outside);
        self.buffers.push(Buffer { handle, bytes: contents, known, undefined, read_only, outside, address });
        Ok(())
    }

    pub(super) fn destroy(&mut self, index: usize) -> Outcome {
        let buffer = self.buffers.swap_remove(index);
        self.maps.retain(|map| map.buffer != buffer.handle);
        self.ended.push(buffer.handle);
        // SAFETY: the handle is alive; nothing of the buffer is used after.
        ok(unsafe { sys::eum_buffer_destroy(buffer.handle) }, "eum_buffer_destroy")?;
        let Some(outside) = &buffer.outside else { return Ok(()) };
        // SAFETY: the memory is the test's, and the library has let go of it.
        let left = unsafe { slice::from_raw_parts(outside.address, outside.bytes) };
        // Without a map before: borrowed memory is the program's, and the buffer was the only way to what kernels wrote.
        if !outside.owned || buffer.read_only {
            compare(left, &buffer.bytes, &buffer.known, "the wrapped memory after its buffer's end")?;
        }
        match outside.released.load(Ordering::SeqCst) {
            count if count == u32::from(outside.owned) => Ok(()),
            count => Err(format!("the release function was called {count} times")),
        }
    }

    pub(super) fn give_up(&mut self, pick: Pick) -> Outcome {
        let index = self.index(pick);
        let handle = self.buffers[index].handle;
        let mut refusals = Vec::new();
        if self.buffers[index].outside.as_ref().is_some_and(|outside| !outside.owned) {
            refusals.push(sys::EUM_ERROR_NOT_OWNED);
        }
        if self.maps.iter().any(|map| map.buffer == handle) {
            refusals.push(sys::EUM_ERROR_MAPPED);
        }
        if self.buffers[index].undefined.contains(&true) {
            refusals.push(sys::EUM_ERROR_UNDEFINED_DATA);
        }
        let mut raw = sys::eum_raw::INIT;
        // SAFETY: the handle is alive, `raw` is valid.
        if !expect(unsafe { sys::eum_buffer_into_raw(handle, &mut raw) }, &refusals, "eum_buffer_into_raw")? {
            return Ok(());
        }
        let buffer = self.buffers.swap_remove(index);
        self.ended.push(handle);
        let release = raw.release.ok_or("into_raw gave no release function")?;
        if raw.bytes != buffer.bytes.len() {
            return Err(format!("into_raw gave {} bytes of {}", raw.bytes, buffer.bytes.len()));
        }
        let compared = if raw.bytes == 0 {
            Ok(())
        } else {
            // SAFETY: the memory is the test's now, on the host's side.
            let bytes = unsafe { slice::from_raw_parts(raw.address.cast::<u8>(), raw.bytes) };
            compare(bytes, &buffer.bytes, &buffer.known, "the raw memory")
        };
        // SAFETY: once, with what it came with.
        unsafe { release(raw.release_user, raw.address, raw.bytes) };
        compared
    }

    pub(super) fn stale(&mut self, pick: Pick) -> Outcome {
        if self.ended.is_empty() {
            return Ok(());
        }
        let buffer = self.ended[pick % self.ended.len()];
        let mut info = sys::eum_buffer_info::INIT;
        let mut byte = 0_u8;
        let view = sys::eum_view { buffer, offset: 0, bytes: 1 };
        let stale = [sys::EUM_ERROR_INVALID_HANDLE];
        // SAFETY: handles are numbers: an ended one is refused, and nothing is touched.
        unsafe {
            expect(sys::eum_buffer_get_info(buffer, &mut info), &stale, "eum_buffer_get_info")?;
            expect(sys::eum_buffer_read(view, ptr::addr_of_mut!(byte).cast()), &stale, "eum_buffer_read")?;
            expect(sys::eum_buffer_destroy(buffer), &stale, "eum_buffer_destroy")?;
        }
        Ok(())
    }
}

fn layout(bytes: usize) -> Layout {
    // 16: what malloc gives. The size is far below where this could fail.
    Layout::from_size_align(bytes.max(1), 16).unwrap_or(Layout::new::<u128>())
}

fn allocate(contents: &[u8]) -> *mut u8 {
    // SAFETY: the layout is not empty; the copy is within it.
    unsafe {
        let address = alloc_zeroed(layout(contents.len()));
        assert!(!address.is_null());
        ptr::copy_nonoverlapping(contents.as_ptr(), address, contents.len());
        address
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout; the library let go of it before.
        unsafe { dealloc(self.address, layout(self.bytes)) }
    }
}

/// Counts. The memory itself goes with its [`Outside`], so that it can be looked at after.
unsafe extern "C" fn count_release(user: *mut c_void, _address: *mut c_void, _bytes: usize) {
    // SAFETY: the counter outlives its buffer.
    unsafe { &*user.cast::<AtomicU32>() }.fetch_add(1, Ordering::SeqCst);
}
