//! Compares every declaration of this crate with `engram_um.h`.
//!
//! The text of the header is turned into the Rust that it should be here (functions, callbacks, types, fields, constants), and
//! a C program that is compiled against the header says what the compiler makes of it (sizes, alignments, offsets, values,
//! initialisers). Whatever is missing, left over or different is named.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use engram_um_sys as sys;
use std::collections::{BTreeMap, BTreeSet};
use std::mem::{align_of, align_of_val, size_of, size_of_val};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs, ptr, slice};

/// Where build.rs found the header.
const INCLUDE: &str = match option_env!("ENGRAM_UM_INCLUDE") {
    Some(folder) => folder,
    None => "/usr/include",
};
/// All of the crate, in the header's order.
const DECLARATIONS: &str = concat!(
    include_str!("../src/lib.rs"),
    include_str!("../src/status.rs"),
    include_str!("../src/words.rs"),
    include_str!("../src/context.rs"),
    include_str!("../src/buffer.rs"),
    include_str!("../src/launch.rs"),
    include_str!("../src/similarity.rs"),
    include_str!("../src/observe.rs"),
    include_str!("../src/costs.rs"),
    include_str!("../src/decision.rs"),
    include_str!("../src/faults.rs"),
    include_str!("../src/functions.rs"),
);

// ------------------------------------------------------------------------------------------------- what Rust says -------

struct Field {
    name: &'static str,
    offset: usize,
    size: usize,
    align: usize,
    initial: Vec<u8>,
}

struct Struct {
    name: &'static str,
    size: usize,
    align: usize,
    fields: Vec<Field>,
    /// The bytes of each field after the library's own init function, which runs on memory full of 0xA5.
    initialised: Option<Vec<Vec<u8>>>,
}

macro_rules! structs {
    ($($name:ident $(by $init:ident)? { $($field:ident),* $(,)? })*) => {
        vec![$({
            let value = sys::$name::default();
            let bytes_of = |value: &sys::$name| vec![$(bytes(&value.$field)),*];
            let mut initial = bytes_of(&value).into_iter();
            let base = ptr::addr_of!(value) as usize;
            let fields = vec![$(Field {
                name: stringify!($field).trim_end_matches('_'),
                offset: ptr::addr_of!(value.$field) as usize - base,
                size: size_of_val(&value.$field),
                align: align_of_val(&value.$field),
                initial: initial.next().unwrap(),
            }),*];
            #[allow(unused_mut, unused_assignments)]
            let mut initialised = None;
            $({
                let mut value = sys::$name::default();
                // SAFETY: `value` is valid for writes of its size, and every bit pattern is valid in each of its fields that
                // is not a callback; those are only compared as bytes after the library has set them.
                unsafe {
                    ptr::write_bytes(ptr::addr_of_mut!(value).cast::<u8>(), 0xA5, size_of::<sys::$name>());
                    sys::$init(ptr::addr_of_mut!(value));
                }
                initialised = Some(bytes_of(&value));
            })?
            Struct { name: stringify!($name), size: size_of::<sys::$name>(), align: align_of::<sys::$name>(), fields, initialised }
        }),*]
    };
}

fn bytes<T>(value: &T) -> Vec<u8> {
    // SAFETY: the fields of these structs are integers, pointers, arrays of them and eum_view: no padding.
    unsafe { slice::from_raw_parts((value as *const T).cast::<u8>(), size_of::<T>()).to_vec() }
}

fn structs() -> Vec<Struct> {
    structs! {
        eum_error by eum_error_init { struct_size, status, cuda_code, cuda_name, sentence }
        eum_context_config by eum_context_config_init {
            struct_size, device, backing, worker_threads, budget_bytes, flags, log_level, log_fn, log_user,
            pool_bytes
        }
        eum_view { buffer, offset, bytes }
        eum_buffer_config by eum_buffer_config_init { struct_size, role, backing, flags, reserved }
        eum_wrap_config by eum_wrap_config_init {
            struct_size, address, bytes, memory, ownership, flags, role, release, release_user
        }
        eum_raw by eum_raw_init {
            struct_size, address, device_address, bytes, memory, reserved, release, release_user
        }
        eum_hint by eum_hint_init { struct_size, applied, reason, sentence }
        eum_job { context, stream, sequence }
        eum_stream_config by eum_stream_config_init { struct_size, device, flags }
        eum_argument { view, access, flags }
        eum_kernel_call {
            struct_size, count, addresses, bytes, params, params_bytes, user, stream, device, reserved, source, first_row, rows
        }
        eum_launch_config by eum_launch_config_init {
            struct_size, gpu, cpu, arguments, argument_count, params, params_bytes, user, host_source, source_rows,
            source_row_bytes
        }
        eum_cosine_config by eum_cosine_config_init {
            struct_size, query, targets, scores, rows, dim, row_stride, executor, reserved, host_targets
        }
        eum_similarity_config by eum_similarity_config_init {
            struct_size, metric, element, queries, targets, scores, query_count, rows, dim, query_stride, row_stride,
            executor, reserved, host_targets
        }
        eum_topk_config by eum_topk_config_init {
            struct_size, metric, element, queries, targets, indices, scores, query_count, rows, dim, k, query_stride,
            row_stride, executor, reserved, host_targets
        }
        eum_similarity_rows_config by eum_similarity_rows_config_init {
            struct_size, metric, element, queries, targets, scores, query_count, rows, dim, numbers, number_count,
            query_stride, row_stride, executor, reserved, host_targets
        }
        eum_info by eum_info_init {
            struct_size, device_kind, device_index, device_reason, backing, worker_threads, compute_major, compute_minor,
            driver_version, runtime_version, managed, concurrent_managed, pageable, discard, page_bytes, memory_total,
            memory_free, budget_bytes, budget_used, device_name, device_sentence, backing_sentence, cpu_kernels
        }
        eum_stats by eum_stats_init {
            struct_size, buffers_live, buffers_peak, bytes_live, bytes_peak, maps_live, launches, jobs_failed,
            bytes_to_device, bytes_to_host, moves_to_device, moves_to_host, bytes_discarded, hints_applied,
            hints_not_applied, raw_allocations, raw_frees, raw_given_up, pool_bytes,
            pool_hits, pool_misses, prefetch_batches, graph_launches
        }
        eum_operation_stats by eum_operation_stats_init {
            struct_size, runs, timed, predicted_ns, actual_ns, chunked, fallbacks, last_executor, rest,
            last_predicted_ns, last_actual_ns
        }
        eum_costs_info by eum_costs_info_init {
            struct_size, source, reserved, to_device_mbps, to_host_mbps, in_place_mbps, memory_mbps, copy_ns, prefetch_ns,
            prefetch_unit_ns, prefetch_unit_bytes, launch_ns, macs_mhz, host_copy_mbps, host_copy_all_mbps, calibration_ns,
            prefetch_batch_range_ns, prefetch_batch_waits
        }
        eum_break_even_config by eum_break_even_config_init { struct_size, element, reserved, dim, query_count, rows }
        eum_break_even by eum_break_even_init {
            struct_size, rows_cold, rows_resident, uses, cpu_ns, device_cold_ns, device_resident_ns
        }
        eum_decision by eum_decision_init {
            struct_size, role, backing, backing_reason, last_movement, last_bytes, bytes_to_device, bytes_to_host,
            bytes_on_host, bytes_on_device, launches, maps, extents, reserved, in_place_ns, move_ns,
            contradiction, reserved2
        }
        eum_faults by eum_faults_init {
            struct_size, source, reserved, cpu_faults, gpu_faults, bytes_to_device, bytes_to_host, bytes_copied_to_device,
            bytes_copied_to_host
        }
        eum_buffer_info by eum_buffer_info_init {
            struct_size, bytes, role, backing, ownership, read_only, maps, reserved
        }
    }
}

macro_rules! constants {
    ($($name:ident)*) => { BTreeMap::from([$((stringify!($name), sys::$name as i64)),*]) };
}

/// Every number of the header; `EUM_VERSION_STRING` is compared apart.
fn constants() -> BTreeMap<&'static str, i64> {
    constants! {
        EUM_VERSION_MAJOR EUM_VERSION_MINOR EUM_VERSION_PATCH EUM_VERSION_NUMBER
        EUM_OK EUM_ERROR_INVALID_HANDLE EUM_ERROR_INVALID_ARGUMENT EUM_ERROR_INVALID_ENUM EUM_ERROR_STRUCT_TOO_SMALL
        EUM_ERROR_STRUCT_TOO_NEW EUM_ERROR_SIZE_OVERFLOW EUM_ERROR_OUT_OF_BOUNDS EUM_ERROR_MISALIGNED
        EUM_ERROR_BUFFER_TOO_SHORT EUM_ERROR_READ_ONLY EUM_ERROR_MAPPED EUM_ERROR_NOT_MAPPED EUM_ERROR_OVERLAP
        EUM_ERROR_WRONG_CONTEXT EUM_ERROR_NOT_OWNED EUM_ERROR_NO_HOST_ACCESS EUM_ERROR_NO_KERNEL EUM_ERROR_IN_CALLBACK
        EUM_ERROR_UNDEFINED_DATA EUM_ERROR_FORKED EUM_ERROR_CAPTURING EUM_ERROR_INVALID_STATE
        EUM_METRIC_COSINE EUM_METRIC_DOT EUM_METRIC_L2_SQUARED EUM_ELEMENT_FLOAT32 EUM_ELEMENT_FLOAT16
        EUM_ELEMENT_BFLOAT16 EUM_TOPK_MOST EUM_EXECUTOR_AUTO EUM_EXECUTOR_CPU EUM_EXECUTOR_DEVICE EUM_EXECUTORS
        EUM_OPERATION_COSINE EUM_OPERATION_SIMILARITY EUM_OPERATION_TOPK EUM_OPERATION_ROWS
        EUM_ERROR_DEVICE_UNAVAILABLE EUM_ERROR_NOT_SUPPORTED EUM_ERROR_OUT_OF_MEMORY EUM_ERROR_OUT_OF_DEVICE_MEMORY
        EUM_ERROR_OVER_BUDGET EUM_ERROR_TIMEOUT EUM_ERROR_LAUNCH_FAILED EUM_ERROR_JOB_FAILED EUM_ERROR_DEVICE_LOST
        EUM_ERROR_DRIVER EUM_ERROR_CUDA EUM_ERROR_SYSTEM
        EUM_ERROR_COUNTING_UNAVAILABLE EUM_ERROR_COUNTING_REFUSED EUM_ERROR_COUNTING_DROPPED
        EUM_BACKING_AUTO EUM_BACKING_MANAGED EUM_BACKING_MIRRORED EUM_BACKING_MAPPED EUM_BACKING_HOST EUM_BACKING_DEVICE
        EUM_ROLE_AUTO EUM_ROLE_QUERY EUM_ROLE_TARGETS EUM_ROLE_RESULTS EUM_ROLE_STREAM
        EUM_ACCESS_READ EUM_ACCESS_READ_WRITE EUM_ACCESS_OVERWRITE
        EUM_LOCATION_HOST EUM_OWNED EUM_BORROWED
        EUM_MEMORY_HOST EUM_MEMORY_PINNED EUM_MEMORY_MANAGED EUM_MEMORY_DEVICE EUM_MEMORY_KINDS
        EUM_LOG_OFF EUM_LOG_ERROR EUM_LOG_WARN EUM_LOG_INFO EUM_LOG_DEBUG
        EUM_CONTEXT_OVERSUBSCRIBE EUM_ARGUMENT_ONCE EUM_WHOLE_SIZE EUM_POOL_OFF EUM_BUFFER_ZEROED EUM_WRAP_READ_ONLY EUM_WRAP_REGISTER
        EUM_ADVICE_READ_MOSTLY EUM_ADVICE_UNSET_READ_MOSTLY EUM_ADVICE_PREFERRED_LOCATION
        EUM_ADVICE_UNSET_PREFERRED_LOCATION EUM_ADVICE_ACCESSED_BY EUM_ADVICE_UNSET_ACCESSED_BY
        EUM_COSTS_DEFAULT EUM_COSTS_FILE EUM_COSTS_MEASURED EUM_NEVER
        EUM_DEVICE_HOST EUM_DEVICE_CUDA EUM_DEVICE_SIM
        EUM_REASON_ASKED EUM_REASON_BEST EUM_REASON_BUILT_WITHOUT EUM_REASON_NO_DRIVER EUM_REASON_DRIVER_TOO_OLD
        EUM_REASON_NO_DEVICE EUM_REASON_DEVICES_HIDDEN EUM_REASON_DRIVER_FAILED
        EUM_MOVEMENT_NONE EUM_MOVEMENT_PREFETCH EUM_MOVEMENT_DUPLICATE EUM_MOVEMENT_IN_PLACE EUM_MOVEMENT_COPY
        EUM_MOVEMENT_DISCARD
        EUM_CONTRADICTION_NONE EUM_CONTRADICTION_QUERY_REWRITTEN EUM_CONTRADICTION_TARGETS_REWRITTEN
        EUM_CONTRADICTION_STREAM_REUSED EUM_CONTRADICTION_RESULTS_REREAD
        EUM_CAUSE_FAULT EUM_CAUSE_PREFETCH EUM_CAUSE_EVICTION EUM_CAUSE_OTHER EUM_CAUSES
        EUM_FAULT_SOURCE_NONE EUM_FAULT_SOURCE_SIM EUM_FAULT_SOURCE_CUPTI
        EUM_BACKING_REASON_FORCED EUM_BACKING_REASON_CONCURRENT EUM_BACKING_REASON_NO_CONCURRENT
        EUM_BACKING_REASON_NO_MANAGED EUM_BACKING_REASON_NO_DEVICE EUM_BACKING_REASON_WRAPPED EUM_BACKING_REASON_COPIES_PAY
    }
}

// ----------------------------------------------------------------------------------------- what the header's text says --

fn header() -> String {
    fs::read_to_string(Path::new(INCLUDE).join("engram_um.h")).unwrap()
}

/// What stands between `open` and `close`, cut out everywhere.
fn without(text: &str, open: &str, close: &str) -> String {
    let mut rest = text;
    let mut kept = String::new();
    while let Some((before, after)) = rest.split_once(open) {
        kept.push_str(before);
        rest = after.split_once(close).map_or("", |(_, after)| after);
    }
    kept + rest
}

/// The declarations of the header, one an entry, without comments, directives and line breaks.
fn declarations(header: &str) -> Vec<String> {
    let text = without(&without(header, "/*", "*/"), "#ifdef __cplusplus", "#endif");
    let lines = text.lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>().join(" ");
    let mut found = vec![String::new()];
    let mut depth = 0;
    for c in lines.chars() {
        depth += i32::from(c == '{') - i32::from(c == '}');
        match c {
            ';' if depth == 0 => found.push(String::new()),
            _ => found.last_mut().unwrap().push(c),
        }
    }
    found.into_iter().map(|d| d.trim().to_string()).filter(|d| !d.is_empty()).collect()
}

/// `const char *a, b[4]` as [("a", "*const c_char"), ("b", "[c_char; 4]")].
fn rust_variables(c: &str) -> Vec<(String, String)> {
    let c = c.trim();
    let (is_const, c) = c.strip_prefix("const ").map_or((false, c), |rest| (true, rest.trim()));
    let (base, declarators) = c.split_at(c.find([' ', '*']).unwrap_or(c.len()));
    let base = match base {
        "void" => "c_void",
        "char" => "c_char",
        "size_t" => "usize",
        "int32_t" => "i32",
        "uint32_t" => "u32",
        "int64_t" => "i64",
        "uint64_t" => "u64",
        named => named,
    };
    let variable = |declarator: &str| {
        let (mut kind, mut pointee_is_const, mut name) = (base.to_string(), is_const, declarator.trim());
        while let Some(rest) = name.strip_prefix('*') {
            kind = format!("*{} {kind}", if pointee_is_const { "const" } else { "mut" });
            name = rest.trim();
            pointee_is_const = name.starts_with("const ");
            name = name.strip_prefix("const ").unwrap_or(name).trim();
        }
        if let Some((array, length)) = name.split_once('[') {
            return (array.to_string(), format!("[{kind}; {}]", length.trim_end_matches(']')));
        }
        let keyword = ["fn", "in", "move", "ref", "type", "where"].contains(&name);
        (format!("{name}{}", if keyword { "_" } else { "" }), kind)
    };
    declarators.split(',').map(variable).collect()
}

fn rust_parameters(c: &str) -> String {
    if c.trim() == "void" {
        return String::new();
    }
    let parameter = |c| rust_variables(c).remove(0);
    c.split(',').map(parameter).map(|(name, kind)| format!("{name}: {kind}")).collect::<Vec<_>>().join(", ")
}

fn rust_result(c: &str) -> String {
    match rust_variables(c).remove(0).1.as_str() {
        "c_void" => String::new(),
        kind => format!(" -> {kind}"),
    }
}

fn struct_fields(declaration: &str) -> Option<(&str, Vec<(String, String)>)> {
    let (name, body) = declaration.strip_prefix("typedef struct ")?.split_once('{')?;
    let body = body.rsplit_once('}')?.0;
    Some((name.trim(), body.split(';').filter(|line| !line.trim().is_empty()).flat_map(rust_variables).collect()))
}

/// The Rust that a declaration of the header should be.
fn rust_for(c: &str) -> String {
    if let Some(function) = c.strip_prefix("EUM_API ") {
        let (start, parameters) = function.trim_end_matches(')').split_once('(').unwrap();
        let name = start.rsplit([' ', '*']).next().unwrap();
        let result = start.strip_suffix(name).unwrap();
        return format!("pub fn {name}({}){};", rust_parameters(parameters), rust_result(result));
    }
    if let Some((name, fields)) = struct_fields(c) {
        let fields = fields.iter().map(|(name, kind)| format!("pub {name}: {kind},")).collect::<String>();
        return format!("#[repr(C)] #[derive(Clone, Copy, Debug)] pub struct {name} {{ {fields} }}");
    }
    if let Some(opaque) = c.strip_prefix("typedef struct ") {
        return format!("opaque!({});", opaque.rsplit(' ').next().unwrap());
    }
    let alias = c.strip_prefix("typedef ").unwrap_or_else(|| panic!("this test does not understand: {c}"));
    if let Some((result, rest)) = alias.split_once("(*") {
        let (name, parameters) = rest.split_once(")(").unwrap();
        let (parameters, result) = (rust_parameters(parameters.trim_end_matches(')')), rust_result(result));
        return format!("pub type {name} = Option<unsafe extern \"C\" fn({parameters}){result}>;");
    }
    let (name, kind) = rust_variables(alias).remove(0);
    format!("pub type {name} = {kind};")
}

/// The same Rust, however it is formatted.
fn normal(rust: &str) -> String {
    let code = rust.lines().map(|line| line.split("//").next().unwrap()).collect::<String>();
    let dense = code.chars().filter(|c| !c.is_whitespace()).collect::<String>();
    dense.replace(",)", ")").replace(",}", "}")
}

/// What the header declares and these declarations do not.
fn missing(header: &str, rust: &str) -> Vec<String> {
    let rust = normal(rust);
    declarations(header).iter().map(|c| rust_for(c)).filter(|wanted| !rust.contains(&normal(wanted))).collect()
}

/// The names of the header's constants.
fn header_constants(header: &str) -> BTreeSet<&str> {
    header
        .lines()
        .filter_map(|line| line.strip_prefix("#define "))
        .filter_map(|define| define.split_whitespace().next())
        .filter(|name| {
            name.starts_with("EUM_") && !name.ends_with("_INIT") && *name != "EUM_API" && !name.contains('(')
        })
        .collect()
}

#[test]
fn every_declaration_of_the_header_is_here_with_the_same_types() {
    assert_eq!(missing(&header(), DECLARATIONS), Vec::<String>::new(), "in the header, but not so in src");
}

#[test]
fn nothing_is_declared_that_the_header_does_not_have() {
    let header = header();
    let wanted = declarations(&header).iter().map(|c| normal(&rust_for(c))).collect::<Vec<_>>();
    let code = normal(DECLARATIONS);
    for (marker, what) in [("pubfneum_", "function"), ("pubtypeeum_", "type"), ("pubstructeum_", "struct")] {
        let here = code.matches(marker).count();
        let there = wanted.iter().filter(|c| c.contains(marker)).count();
        assert_eq!(here, there, "number of {what} declarations, here and in the header");
    }
    let here = DECLARATIONS.lines().filter_map(|line| line.strip_prefix("pub const EUM_")?.split(':').next());
    let here = here.map(|name| format!("EUM_{name}")).collect::<BTreeSet<_>>();
    let there = header_constants(&header).into_iter().map(String::from).collect::<BTreeSet<_>>();
    assert_eq!(here, there, "constants, here and in the header");
}

#[test]
fn a_declaration_that_is_missing_or_different_is_named() {
    let header = header();
    let with = |extra: &str| format!("{header}\n{extra}\n");
    let added = with("EUM_API eum_status eum_buffer_fill(eum_view view, const void *value);");
    let expected = "pub fn eum_buffer_fill(view: eum_view, value: *const c_void) -> eum_status;";
    assert_eq!(missing(&added, DECLARATIONS), [expected]);
    let changed = header.replace("eum_buffer_unmap(eum_buffer *buffer", "eum_buffer_unmap(const eum_buffer *buffer");
    assert_eq!(missing(&changed, DECLARATIONS).len(), 1);
    let grown = header.replace("uint64_t maps_live;", "uint64_t maps_live, maps_peak;");
    assert_eq!(missing(&grown, DECLARATIONS).len(), 1);
    assert!(header_constants(&with("#define EUM_ROLE_SCRATCH 5")).contains("EUM_ROLE_SCRATCH"));
    for line in ["pub fn eum_cosine(", "pub type eum_role =", "opaque!(eum_stream);", "pub raw_frees:"] {
        let without = DECLARATIONS.replace(line, "");
        assert_eq!(missing(&header, &without).len(), 1, "without {line}");
    }
}

// ------------------------------------------------------------------------------------------ what the C compiler says ----

/// Compiles and runs a C program whose main has this body, and gives its lines.
fn run_c(name: &str, body: &str) -> Vec<String> {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let (source, program) = (folder.join(format!("{name}.c")), folder.join(name));
    let text = format!(
        "#include <engram_um.h>\n#include <stdio.h>\n\
         static void dump(const void *field, size_t bytes) {{\n    \
             for (size_t i = 0; i < bytes; i++) printf(\"%02x\", ((const unsigned char *)field)[i]);\n    \
             printf(\"\\n\");\n}}\n\
         int main(void) {{\n    (void)dump;\n{body}    return 0;\n}}\n"
    );
    fs::write(&source, text).unwrap();
    let compiler = env::var("CC").ok().filter(|cc| !cc.is_empty()).unwrap_or_else(|| "cc".into());
    let mut words = compiler.split_whitespace();
    let built = Command::new(words.next().unwrap())
        .args(words)
        .args(["-std=c11", "-I", INCLUDE])
        .arg(&source)
        .arg("-o")
        .arg(&program)
        .output()
        .unwrap_or_else(|e| panic!("this test needs a C compiler: {compiler}: {e}"));
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let ran = Command::new(&program).output().unwrap();
    assert!(ran.status.success());
    String::from_utf8(ran.stdout).unwrap().lines().map(String::from).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn constants_have_the_values_of_the_header() {
    let header = header();
    let mut listed = constants().into_keys().collect::<BTreeSet<_>>();
    listed.insert("EUM_VERSION_STRING");
    assert_eq!(listed, header_constants(&header), "the list in this test, and the header");
    let lines =
        constants().keys().map(|name| format!("    printf(\"%lld\\n\", (long long)({name}));\n")).collect::<String>();
    let printed = run_c("constants", &format!("{lines}    puts(EUM_VERSION_STRING);\n"));
    for ((name, value), c) in constants().iter().zip(&printed) {
        assert_eq!(value.to_string(), *c, "{name}");
    }
    assert_eq!(printed.last().map(String::as_str), Some(sys::EUM_VERSION_STRING));
}

#[test]
fn structs_have_the_size_alignment_and_offsets_of_the_header() {
    let header = header();
    let declared = declarations(&header);
    let declared = declared.iter().filter_map(|c| struct_fields(c)).collect::<BTreeMap<_, _>>();
    let structs = structs();
    let listed = structs.iter().map(|s| s.name).collect::<BTreeSet<_>>();
    assert_eq!(listed, declared.keys().copied().collect(), "the list in this test, and the header");
    let mut body = String::new();
    for Struct { name, fields, .. } in &structs {
        let names = fields.iter().map(|field| field.name).collect::<BTreeSet<_>>();
        assert_eq!(names, declared[name].iter().map(|(name, _)| name.as_str()).collect(), "fields of {name}");
        body += &format!("    printf(\"%zu %zu\\n\", sizeof({name}), _Alignof({name}));\n");
        for Field { name: field, .. } in fields {
            body += &format!(
                "    printf(\"%zu %zu %zu\\n\", offsetof({name}, {field}), sizeof((({name} *)0)->{field}), \
                 __alignof__((({name} *)0)->{field}));\n"
            );
        }
    }
    let mut printed = run_c("layout", &body).into_iter();
    for s in &structs {
        assert_eq!(printed.next(), Some(format!("{} {}", s.size, s.align)), "size and alignment of {}", s.name);
        for f in &s.fields {
            let here = format!("{} {} {}", f.offset, f.size, f.align);
            assert_eq!(printed.next(), Some(here), "offset, size and alignment of {}.{}", s.name, f.name);
        }
    }
}

#[test]
fn defaults_equal_the_init_macros_of_the_header() {
    let header = header();
    let structs = structs();
    let macro_of = |s: &Struct| format!("{}_INIT", s.name.to_uppercase());
    let with_macro =
        structs.iter().filter(|s| header.contains(&format!("#define {} ", macro_of(s)))).collect::<Vec<_>>();
    assert_eq!(with_macro.len(), header.matches("_INIT {").count(), "each _INIT macro belongs to a struct");
    let mut body = String::new();
    for s in &with_macro {
        body += &format!("    {{\n        {} value = {};\n", s.name, macro_of(s));
        for field in &s.fields {
            body += &format!("        dump(&value.{0}, sizeof value.{0});\n", field.name);
        }
        body += "    }\n";
    }
    let mut printed = run_c("initialisers", &body).into_iter();
    for s in &with_macro {
        for f in &s.fields {
            assert_eq!(printed.next(), Some(hex(&f.initial)), "{}.{}", s.name, f.name);
        }
    }
}

#[test]
fn defaults_equal_the_init_functions_of_the_library() {
    let header = header();
    let structs = structs();
    let with_function = structs.iter().filter(|s| s.initialised.is_some()).collect::<Vec<_>>();
    assert_eq!(with_function.len(), header.matches("_init(").count(), "each _init function belongs to a struct");
    for s in with_function {
        for (field, set) in s.fields.iter().zip(s.initialised.as_ref().unwrap()) {
            assert_eq!(hex(&field.initial), hex(set), "{}.{}", s.name, field.name);
        }
    }
}

#[test]
fn the_library_that_runs_is_the_one_of_the_declarations() {
    // SAFETY: both take nothing; the string is static and ends with a 0 byte.
    let (number, text) = unsafe { (sys::eum_version_number(), std::ffi::CStr::from_ptr(sys::eum_version_string())) };
    assert!(number >= sys::EUM_VERSION_NUMBER, "the library is {}", text.to_string_lossy());
}
