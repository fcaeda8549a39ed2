//! The functions.

use crate::*;

extern "C" {
    pub fn eum_version_number() -> i32;
    pub fn eum_version_string() -> *const c_char;
    pub fn eum_status_name(status: eum_status) -> *const c_char;
    pub fn eum_status_text(status: eum_status) -> *const c_char;
    pub fn eum_status_from_cuda(cuda_code: i32) -> eum_status;
    pub fn eum_error_init(error: *mut eum_error);
    pub fn eum_last_error(error: *mut eum_error) -> eum_status;
    pub fn eum_context_config_init(config: *mut eum_context_config);
    pub fn eum_context_create(config: *const eum_context_config, out: *mut *mut eum_context) -> eum_status;
    pub fn eum_context_destroy(context: *mut eum_context) -> eum_status;
    pub fn eum_buffer_config_init(config: *mut eum_buffer_config);
    pub fn eum_buffer_create(
        context: *mut eum_context,
        bytes: usize,
        config: *const eum_buffer_config,
        out: *mut *mut eum_buffer,
    ) -> eum_status;
    pub fn eum_wrap_config_init(config: *mut eum_wrap_config);
    pub fn eum_buffer_wrap(
        context: *mut eum_context,
        config: *const eum_wrap_config,
        out: *mut *mut eum_buffer,
    ) -> eum_status;
    pub fn eum_raw_init(raw: *mut eum_raw);
    pub fn eum_buffer_into_raw(buffer: *mut eum_buffer, out: *mut eum_raw) -> eum_status;
    pub fn eum_buffer_destroy(buffer: *mut eum_buffer) -> eum_status;
    pub fn eum_buffer_set_role(buffer: *mut eum_buffer, role: eum_role) -> eum_status;
    pub fn eum_buffer_map(view: eum_view, access: eum_access, out: *mut *mut c_void) -> eum_status;
    pub fn eum_buffer_unmap(buffer: *mut eum_buffer, mapped: *mut c_void) -> eum_status;
    pub fn eum_buffer_write(view: eum_view, src: *const c_void) -> eum_status;
    pub fn eum_buffer_read(view: eum_view, dst: *mut c_void) -> eum_status;
    pub fn eum_buffer_prefetch(view: eum_view, where_: eum_location, stream: *mut eum_stream) -> eum_status;
    pub fn eum_hint_init(hint: *mut eum_hint);
    pub fn eum_buffer_advise(
        view: eum_view,
        advice: eum_advice,
        where_: eum_location,
        out: *mut eum_hint,
    ) -> eum_status;
    pub fn eum_stream_config_init(config: *mut eum_stream_config);
    pub fn eum_context_default_stream(context: *mut eum_context, out: *mut *mut eum_stream) -> eum_status;
    pub fn eum_stream_create(
        context: *mut eum_context,
        config: *const eum_stream_config,
        out: *mut *mut eum_stream,
    ) -> eum_status;
    pub fn eum_stream_wrap(
        context: *mut eum_context,
        cuda_stream: *mut c_void,
        out: *mut *mut eum_stream,
    ) -> eum_status;
    pub fn eum_stream_destroy(stream: *mut eum_stream) -> eum_status;
    pub fn eum_stream_synchronize(stream: *mut eum_stream) -> eum_status;
    pub fn eum_job_wait(job: eum_job, timeout_ns: i64) -> eum_status;
    pub fn eum_launch_config_init(config: *mut eum_launch_config);
    pub fn eum_launch(stream: *mut eum_stream, config: *const eum_launch_config, out: *mut eum_job) -> eum_status;
    pub fn eum_stream_on_done(stream: *mut eum_stream, fn_: eum_done_fn, user: *mut c_void) -> eum_status;
    pub fn eum_stream_native(stream: *mut eum_stream, out_cuda_stream: *mut *mut c_void) -> eum_status;
    pub fn eum_job_cuda_event(job: eum_job, out_cuda_event: *mut *mut c_void) -> eum_status;
    pub fn eum_stream_acquire(
        stream: *mut eum_stream,
        arguments: *const eum_argument,
        count: usize,
        out_addresses: *mut *mut c_void,
    ) -> eum_status;
    pub fn eum_stream_release(
        stream: *mut eum_stream,
        arguments: *const eum_argument,
        count: usize,
        out: *mut eum_job,
    ) -> eum_status;
    pub fn eum_cosine_config_init(config: *mut eum_cosine_config);
    pub fn eum_cosine(stream: *mut eum_stream, config: *const eum_cosine_config, out: *mut eum_job) -> eum_status;
    pub fn eum_similarity_config_init(config: *mut eum_similarity_config);
    pub fn eum_similarity(
        stream: *mut eum_stream,
        config: *const eum_similarity_config,
        out: *mut eum_job,
    ) -> eum_status;
    pub fn eum_topk_config_init(config: *mut eum_topk_config);
    pub fn eum_topk(stream: *mut eum_stream, config: *const eum_topk_config, out: *mut eum_job) -> eum_status;
    pub fn eum_similarity_rows_config_init(config: *mut eum_similarity_rows_config);
    pub fn eum_similarity_rows(
        stream: *mut eum_stream,
        config: *const eum_similarity_rows_config,
        out: *mut eum_job,
    ) -> eum_status;
    pub fn eum_info_init(info: *mut eum_info);
    pub fn eum_context_info(context: *const eum_context, out: *mut eum_info) -> eum_status;
    pub fn eum_stats_init(stats: *mut eum_stats);
    pub fn eum_context_stats(context: *const eum_context, out: *mut eum_stats) -> eum_status;
    pub fn eum_operation_stats_init(stats: *mut eum_operation_stats);
    pub fn eum_context_operation_stats(
        context: *const eum_context,
        operation: eum_operation,
        out: *mut eum_operation_stats,
    ) -> eum_status;
    pub fn eum_context_trim(context: *mut eum_context, keep: u64) -> eum_status;
    pub fn eum_costs_info_init(info: *mut eum_costs_info);
    pub fn eum_context_costs(context: *const eum_context, out: *mut eum_costs_info) -> eum_status;
    pub fn eum_context_calibrate(context: *mut eum_context, out: *mut eum_costs_info) -> eum_status;
    pub fn eum_context_save_costs(context: *const eum_context, path: *const c_char) -> eum_status;
    pub fn eum_break_even_config_init(config: *mut eum_break_even_config);
    pub fn eum_break_even_init(out: *mut eum_break_even);
    pub fn eum_context_break_even(
        context: *const eum_context,
        config: *const eum_break_even_config,
        out: *mut eum_break_even,
    ) -> eum_status;
    pub fn eum_decision_init(decision: *mut eum_decision);
    pub fn eum_buffer_explain(buffer: *const eum_buffer, out: *mut eum_decision) -> eum_status;
    pub fn eum_decision_text(
        decision: *const eum_decision,
        text: *mut c_char,
        capacity: usize,
        needed: *mut usize,
    ) -> eum_status;
    pub fn eum_faults_init(faults: *mut eum_faults);
    pub fn eum_faults_begin(context: *mut eum_context) -> eum_status;
    pub fn eum_faults_end(context: *mut eum_context, out: *mut eum_faults) -> eum_status;
    pub fn eum_buffer_faults(buffer: *mut eum_buffer, out: *mut eum_faults) -> eum_status;
    pub fn eum_buffer_info_init(info: *mut eum_buffer_info);
    pub fn eum_buffer_get_info(buffer: *const eum_buffer, out: *mut eum_buffer_info) -> eum_status;
}
