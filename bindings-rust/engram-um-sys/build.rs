//! Finds or builds the C library: pkg-config first, the bundled sources through CMake otherwise.
//!
//! `ENGRAM_UM_BUILD=system` takes only an installed library, `ENGRAM_UM_BUILD=bundled` only the sources.
//! `ENGRAM_UM_SOURCE_DIR` names the sources where they are not beside this crate. Both may be empty, which is unset.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::exit;

/// The oldest library that these declarations match.
const MINIMUM_VERSION: &str = "0.1.0";

/// What the library is built of, relative to its root: a change in any of it builds it again.
const SOURCES: [&str; 7] = ["CMakeLists.txt", "cmake", "engram_um.pc.in", "ffi", "include", "kernels", "src"];

enum Choice {
    SystemFirst,
    System,
    Bundled,
}

fn main() {
    if let Err(why) = find_or_build() {
        eprintln!("engram-um-sys: {why}");
        exit(1);
    }
}

fn find_or_build() -> Result<(), String> {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=DOCS_RS");
    if set("DOCS_RS").is_some() {
        return Ok(()); // Documentation needs no library, and docs.rs has none.
    }
    match choice()? {
        Choice::System => system().map_err(|why| {
            format!("ENGRAM_UM_BUILD=system, but pkg-config finds no engram_um {MINIMUM_VERSION} or newer: {why}")
        }),
        Choice::Bundled => bundled(),
        Choice::SystemFirst => system().or_else(|_| bundled()),
    }
}

/// An environment variable; empty counts as unset. A change of it runs this program again.
fn set(name: &str) -> Option<String> {
    println!("cargo:rerun-if-env-changed={name}");
    env::var(name).ok().filter(|value| !value.is_empty())
}

fn choice() -> Result<Choice, String> {
    match set("ENGRAM_UM_BUILD").as_deref() {
        None => Ok(Choice::SystemFirst),
        Some("system") => Ok(Choice::System),
        Some("bundled") => Ok(Choice::Bundled),
        Some(other) => {
            Err(format!("ENGRAM_UM_BUILD is \"{other}\"; use \"system\" or \"bundled\", or unset it to try both"))
        }
    }
}

fn system() -> Result<(), String> {
    let library =
        pkg_config::Config::new().atleast_version(MINIMUM_VERSION).probe("engram_um").map_err(|e| e.to_string())?;
    publish_include(&library.include_paths);
    Ok(())
}

fn bundled() -> Result<(), String> {
    let root = source_root()?;
    for source in SOURCES.iter().map(|name| root.join(name)).filter(|path| path.exists()) {
        println!("cargo:rerun-if-changed={}", source.display());
    }
    // EUM_CUDA=AUTO looks for the toolkit in these places.
    for name in ["CUDAToolkit_ROOT", "CUDA_HOME", "CUDA_PATH"] {
        set(name);
    }
    let installed = cmake::Config::new(&root)
        .profile("Release") // The kernels are what this library is for: never unoptimised, whatever the profile here.
        .define("EUM_CUDA", set("EUM_CUDA").unwrap_or_else(|| "AUTO".into()))
        .define("EUM_TESTS", "OFF")
        .define("EUM_BENCH", "OFF")
        .define("EUM_TOOLS", "OFF")
        .define("CMAKE_INSTALL_LIBDIR", "lib")
        .define("CMAKE_POSITION_INDEPENDENT_CODE", "ON")
        .build();
    link_static(&installed)?;
    println!("cargo:root={}", installed.display());
    publish_include(&[installed.join("include")]);
    Ok(())
}

fn source_root() -> Result<PathBuf, String> {
    let is_root = |path: &Path| path.join("include/engram_um.h").exists() && path.join("CMakeLists.txt").exists();
    if let Some(path) = set("ENGRAM_UM_SOURCE_DIR").map(PathBuf::from) {
        return if is_root(&path) {
            Ok(path)
        } else {
            Err(format!("ENGRAM_UM_SOURCE_DIR is {}, which does not hold engram_um's sources", path.display()))
        };
    }
    let here = PathBuf::from(env::var("CARGO_MANIFEST_DIR").map_err(|e| e.to_string())?);
    // A published crate carries the sources in source/; in the repository they are two levels up.
    [here.join("source"), here.join("../..")].into_iter().find(|path| is_root(path)).ok_or_else(|| {
        "no installed engram_um and no sources of it beside this crate; install the library, \
         or set ENGRAM_UM_SOURCE_DIR to its sources"
            .into()
    })
}

/// Links what the installed `engram_um.pc` says a static link needs: the library, the CUDA runtime if it was built with it,
/// the system's libraries. Read here, because bundled builds must work where there is no pkg-config program.
fn link_static(installed: &Path) -> Result<(), String> {
    let file = installed.join("lib/pkgconfig/engram_um.pc");
    let text = fs::read_to_string(&file).map_err(|e| format!("{}: {e}", file.display()))?;
    println!("cargo:rustc-link-search=native={}", installed.join("lib").display());
    println!("cargo:rustc-link-lib=static=engram_um");
    let variables = variables(&text, &file);
    let mut folders = Vec::new();
    for flag in fields(&text, &["Libs", "Libs.private"]).split_whitespace() {
        let flag = expand(flag, &variables);
        if let Some(folder) = flag.strip_prefix("-L") {
            println!("cargo:rustc-link-search=native={folder}");
            folders.push(PathBuf::from(folder));
        } else if let Some(name) = flag.strip_prefix("-l") {
            link(name, &folders);
        } else if flag == "-pthread" {
            println!("cargo:rustc-link-lib=pthread");
        } else if let Some((folder, name)) = archive(&flag) {
            println!("cargo:rustc-link-search=native={}", folder.display());
            println!("cargo:rustc-link-lib=static={name}");
        }
    }
    Ok(())
}

fn link(name: &str, folders: &[PathBuf]) {
    if name == "engram_um" {
        return;
    }
    let archive = format!("lib{name}.a");
    let kind = if folders.iter().any(|folder| folder.join(&archive).exists()) { "static=" } else { "" };
    println!("cargo:rustc-link-lib={kind}{name}");
}

/// "/folder/libname.a" as (folder, name).
fn archive(flag: &str) -> Option<(PathBuf, String)> {
    let path = Path::new(flag);
    let name = path.file_name()?.to_str()?.strip_prefix("lib")?.strip_suffix(".a")?;
    Some((path.parent()?.to_path_buf(), name.to_string()))
}

/// The variables of a .pc file, in order, already expanded; `pcfiledir` is the folder it lies in.
fn variables(text: &str, file: &Path) -> Vec<(String, String)> {
    let folder = file.parent().unwrap_or(Path::new("."));
    let mut known = vec![("pcfiledir".to_string(), folder.display().to_string())];
    for line in text.lines() {
        let Some((name, value)) = line.split_once('=') else { continue };
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if name.trim().chars().all(is_name) {
            let value = expand(value.trim(), &known);
            known.push((name.trim().to_string(), value));
        }
    }
    known
}

/// The values of these fields, joined.
fn fields(text: &str, names: &[&str]) -> String {
    let value = |line: &str| {
        let (name, value) = line.split_once(':')?;
        names.contains(&name.trim()).then(|| value.trim().to_string())
    };
    text.lines().filter_map(value).collect::<Vec<_>>().join(" ")
}

fn expand(text: &str, variables: &[(String, String)]) -> String {
    variables.iter().fold(text.to_string(), |text, (name, value)| text.replace(&format!("${{{name}}}"), value))
}

/// Tells dependents (`DEP_ENGRAM_UM_INCLUDE`) and this crate's own tests where the header is.
fn publish_include(folders: &[PathBuf]) {
    if let Some(folder) = folders.iter().find(|folder| folder.join("engram_um.h").exists()) {
        println!("cargo:include={}", folder.display());
        println!("cargo:rustc-env=ENGRAM_UM_INCLUDE={}", folder.display());
    }
}
