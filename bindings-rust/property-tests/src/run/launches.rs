//! Steps of streams: launches, scores, jobs and waits.

use super::*;

impl Machine {
    pub(super) fn launch_refusals(&self, uses: &[Use]) -> Vec<sys::eum_status> {
        let mut refusals = uses.iter().flat_map(|used| self.launch_refusals_of(*used)).collect::<Vec<_>>();
        for (index, a) in uses.iter().enumerate() {
            let clashes = |b: &Use| {
                a.buffer == b.buffer
                    && a.offset.max(b.offset) < (a.offset + a.bytes).min(b.offset + b.bytes)
                    && (a.writes() || b.writes())
            };
            if uses[index + 1..].iter().any(clashes) {
                refusals.push(sys::EUM_ERROR_OVERLAP);
            }
        }
        refusals
    }

    /// What a launch may be refused with, though it need not: for want of memory, or because of data that are undefined, which is
    /// found when the job runs if not before.
    pub(super) fn later(&self, dooms: bool) -> Vec<sys::eum_status> {
        let mut others = self.pressure().to_vec();
        if dooms {
            others.push(sys::EUM_ERROR_UNDEFINED_DATA);
        }
        others
    }

    pub(super) fn launch(
        &mut self,
        stream: *mut sys::eum_stream,
        uses: &[Use],
        source: Option<(usize, usize)>,
        seed: u64,
        fails: bool,
    ) -> Outcome {
        let unknown = |used: &Use| {
            let known = &self.buffers[used.buffer].known[used.offset..used.offset + used.bytes];
            used.access != sys::EUM_ACCESS_OVERWRITE && known.contains(&false)
        };
        let code = if fails { 77 } else { 0 };
        let (rows, row_bytes) = source.unwrap_or((0, 0));
        let array = ManuallyDrop::new(kernel::pattern(seed, rows * row_bytes));
        let mut params =
            Params { seed, rows, row_bytes, blind: uses.iter().any(unknown).into(), code, access: [0; MOST] };
        for (access, used) in params.access.iter_mut().zip(uses) {
            *access = used.access;
        }
        let argument = |used: &Use| sys::eum_argument { view: self.view(*used), access: used.access, flags: 0 };
        let arguments = uses.iter().map(argument).collect::<Vec<_>>();
        let config = sys::eum_launch_config {
            cpu: Some(kernel::callback),
            arguments: if arguments.is_empty() { ptr::null() } else { arguments.as_ptr() },
            argument_count: arguments.len(),
            params: ptr::addr_of!(params).cast(),
            params_bytes: size_of::<Params>(),
            host_source: if source.is_some() { array.as_ptr().cast() } else { ptr::null() },
            source_rows: rows as u64,
            source_row_bytes: row_bytes,
            ..sys::eum_launch_config::INIT
        };
        let mut job = sys::eum_job::INIT;
        // SAFETY: everything in the configuration lives through the call, and the kernel outlives the job.
        let status = unsafe { sys::eum_launch(stream, &config, &mut job) };
        let empty_writes = uses.iter().any(|used| self.may_refuse_empty(*used, status));
        let dooms = uses.iter().any(|used| self.reads_undefined(used));
        if !empty_writes && !permit(status, &self.launch_refusals(uses), &self.later(dooms), "eum_launch")? {
            drop(ManuallyDrop::into_inner(array));
            return Ok(());
        }
        self.arrays.push(array);
        let fails = fails || dooms;
        self.jobs.push(Job { job, stream, fails, reported: false });
        if fails {
            for used in uses.iter().filter(|used| used.writes()) {
                self.model(*used).1.fill(false);
                self.define(*used, false);
            }
            return Ok(());
        }
        let mut argument = |used: &Use| {
            let bytes = &mut self.buffers[used.buffer].bytes;
            // SAFETY: the offset is within the vector.
            Argument { address: unsafe { bytes.as_mut_ptr().add(used.offset) }, bytes: used.bytes }
        };
        let arguments = uses.iter().map(&mut argument).collect::<Vec<_>>();
        let array = self.arrays.last().map_or(&[][..], |array| array.as_slice());
        // SAFETY: the model's own vectors; what is written overlaps nothing, or the launch would have been refused.
        unsafe {
            match source {
                None => kernel::work(&params, &arguments),
                Some(_) => kernel::work_on_rows(&params, &arguments, array, 0),
            }
        };
        for used in uses {
            let (_, known) = self.model(*used);
            match used.access {
                sys::EUM_ACCESS_OVERWRITE => {
                    known.fill(true);
                    self.define(*used, true);
                }
                sys::EUM_ACCESS_READ_WRITE => kernel::written(seed, used.bytes).for_each(|at| known[at] = true),
                _ => (),
            }
        }
        Ok(())
    }

    pub(super) fn cosine(
        &mut self,
        stream: *mut sys::eum_stream,
        picks: [Pick; 3],
        dim: usize,
        rows: usize,
        executor: sys::eum_executor,
        look: bool,
    ) -> Outcome {
        let [query, targets, scores] = picks.map(|pick| self.index(pick));
        let floats = |index: usize| self.buffers[index].bytes.len() / 4;
        let dim = dim.min(floats(query));
        if dim == 0 {
            return Ok(());
        }
        let rows = rows.min(floats(targets) / dim).min(floats(scores));
        // The scores go to the end, so that a buffer can be targets and scores at once.
        let query = Use { buffer: query, offset: 0, bytes: dim * 4, access: sys::EUM_ACCESS_READ };
        let targets = Use { buffer: targets, offset: 0, bytes: rows * dim * 4, access: sys::EUM_ACCESS_READ };
        let offset = (floats(scores) - rows) * 4;
        let scores = Use { buffer: scores, offset, bytes: rows * 4, access: sys::EUM_ACCESS_OVERWRITE };
        let config = sys::eum_cosine_config {
            query: self.view(query),
            targets: self.view(targets),
            scores: self.view(scores),
            rows: rows as u64,
            dim: dim as u64,
            executor,
            ..sys::eum_cosine_config::INIT
        };
        let mut job = sys::eum_job::INIT;
        // SAFETY: configuration and output are valid, all handles alive.
        let status = unsafe { sys::eum_cosine(stream, &config, &mut job) };
        if rows == 0 && status == sys::EUM_OK {
            return Ok(()); // Nothing to do, so nothing in the way.
        }
        let fails = [query, targets].iter().any(|used| self.reads_undefined(used));
        let refusals = self.launch_refusals(&[query, targets, scores]);
        if !permit(status, &refusals, &self.later(fails), "eum_cosine")? {
            return Ok(());
        }
        self.jobs.push(Job { job, stream, fails, reported: false });
        let inputs_known = [query, targets].map(|used| !self.model(used).1.contains(&false)) == [true, true];
        self.model(scores).1.fill(false);
        self.define(scores, !fails);
        if look && !fails {
            let (q, t) = (self.floats(query), self.floats(targets));
            let read = self.read(Use { access: sys::EUM_ACCESS_READ, ..scores })?.ok_or("the scores cannot be read")?;
            let (bytes, known) = self.model(scores);
            bytes.copy_from_slice(&read);
            known.fill(true);
            if inputs_known {
                for (row, (score, target)) in floats_of(&read).iter().zip(t.chunks(dim)).enumerate() {
                    check_score(*score, &q, target)
                        .map_err(|why| format!("eum_cosine: row {row} of {rows} x {dim}: {why}"))?;
                }
            }
        }
        Ok(())
    }

    pub(super) fn floats(&mut self, used: Use) -> Vec<f32> {
        floats_of(self.model(used).0)
    }

    pub(super) fn open_stream(&mut self) -> Outcome {
        let mut stream = ptr::null_mut();
        // SAFETY: the context is alive, NULL means defaults, the output is valid.
        ok(unsafe { sys::eum_stream_create(self.context, ptr::null(), &mut stream) }, "eum_stream_create")?;
        self.streams.push(stream);
        Ok(())
    }

    pub(super) fn close_stream(&mut self, pick: Pick) -> Outcome {
        if self.streams.len() == 1 {
            return Ok(());
        }
        let stream = self.streams.remove(1 + pick % (self.streams.len() - 1));
        // SAFETY: the handle is alive, and not used after.
        ok(unsafe { sys::eum_stream_destroy(stream) }, "eum_stream_destroy")
    }

    pub(super) fn wait(&mut self, pick: Pick) -> Outcome {
        if self.jobs.is_empty() {
            return Ok(());
        }
        let index = pick % self.jobs.len();
        let job = &mut self.jobs[index];
        job.reported = true;
        let refusals: &[_] = if job.fails { &[sys::EUM_ERROR_JOB_FAILED] } else { &[] };
        // SAFETY: a plain value.
        expect(unsafe { sys::eum_job_wait(job.job, -1) }, refusals, "eum_job_wait").map(|_| ())
    }

    pub(super) fn synchronize(&mut self, stream: *mut sys::eum_stream) -> Outcome {
        let mut refusals = Vec::new();
        for job in self.jobs.iter_mut().filter(|job| job.stream == stream) {
            if job.fails && !job.reported {
                refusals.push(sys::EUM_ERROR_JOB_FAILED);
            }
            job.reported = true;
        }
        // SAFETY: the handle is alive.
        expect(unsafe { sys::eum_stream_synchronize(stream) }, &refusals, "eum_stream_synchronize").map(|_| ())
    }
}

fn floats_of(bytes: &[u8]) -> Vec<f32> {
    bytes.chunks_exact(4).map(|chunk| f32::from_ne_bytes([chunk[0], chunk[1], chunk[2], chunk[3]])).collect()
}

/// The contract of eum_cosine, where the numbers are neither huge nor tiny.
fn check_score(score: f32, query: &[f32], target: &[f32]) -> Outcome {
    let finite = |floats: &[f32]| floats.iter().all(|x| x.is_finite());
    if !finite(query) || !finite(target) {
        return if score.is_nan() { Ok(()) } else { Err(format!("{score}, and should be NaN")) };
    }
    let decent = |floats: &[f32]| floats.iter().all(|x| *x == 0.0 || (1e-12..1e12).contains(&x.abs()));
    if !decent(query) || !decent(target) {
        return Ok(());
    }
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    let norms = (dot(query, query) * dot(target, target)).sqrt();
    let exact = if norms == 0.0 { 0.0 } else { dot(query, target) / norms };
    if (f64::from(score) - exact).abs() <= 1e-6 + 1e-5 * exact.abs() {
        Ok(())
    } else {
        Err(format!("{score}, and should be {exact}"))
    }
}
