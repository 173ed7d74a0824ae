//! Tests of watched files, with real files.

use std::{fs, os::unix::fs::symlink, path::Path};

use super::*;

/// Files whose text is in use if it begins with `good`.
fn watched(path: &Path) -> WatchedFiles {
    let file = path.to_owned();
    WatchedFiles::new("test", vec![path.to_owned()], move || {
        let text = fs::read_to_string(&file).map_err(|error| error.to_string())?;
        if text.starts_with("good") { Ok(vec![("test", text)]) } else { Err("is not good".to_owned()) }
    })
}

fn loaded(text: &str) -> CheckOutcome {
    CheckOutcome::Loaded(vec![("test", text.to_owned())])
}

#[test]
fn changed_file_is_loaded_only_after_two_equal_reads() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("secret");
    fs::write(&path, "good 1").unwrap();
    let mut files = watched(&path);
    assert_eq!(files.load_first(), loaded("good 1"));
    assert_eq!(files.check(), CheckOutcome::Current);
    fs::write(&path, "good").unwrap();
    assert_eq!(files.check(), CheckOutcome::Changing);
    fs::write(&path, "good 2").unwrap();
    assert_eq!(files.check(), CheckOutcome::Changing, "the first read saw a part of the file");
    assert_eq!(files.check(), loaded("good 2"));
    assert_eq!(files.check(), CheckOutcome::Current);
}

#[test]
fn broken_file_fails_once_and_recovers() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("secret");
    fs::write(&path, "good 1").unwrap();
    let mut files = watched(&path);
    files.load_first();
    let failed = |is_new| CheckOutcome::Failed { cause: "is not good".to_owned(), is_new };
    fs::write(&path, "").unwrap();
    assert_eq!(files.check(), CheckOutcome::Changing);
    assert_eq!(files.check(), failed(true));
    assert_eq!(files.check(), failed(false));
    fs::remove_file(&path).unwrap();
    assert!(matches!(files.check(), CheckOutcome::Failed { is_new: true, .. }));
    fs::write(&path, "good 1").unwrap();
    assert_eq!(files.check(), CheckOutcome::Current, "the content in use is back");
    fs::write(&path, "good 2").unwrap();
    files.check();
    assert_eq!(files.check(), loaded("good 2"));
}

#[test]
fn swapped_kubernetes_symlink_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    for version in ["1", "2"] {
        fs::create_dir(at(version)).unwrap();
        fs::write(at(version).join("secret"), format!("good {version}")).unwrap();
    }
    symlink("1", at("..data")).unwrap();
    symlink("..data/secret", at("secret")).unwrap();
    let mut files = watched(&at("secret"));
    assert_eq!(files.load_first(), loaded("good 1"));
    symlink("2", at("..data_tmp")).unwrap();
    fs::rename(at("..data_tmp"), at("..data")).unwrap();
    fs::remove_dir_all(at("1")).unwrap();
    assert_eq!(files.check(), CheckOutcome::Changing);
    assert_eq!(files.check(), loaded("good 2"));
}

#[test]
fn bytes_that_move_between_files_are_a_change() {
    let folder = tempfile::tempdir().unwrap();
    let paths = ["cert", "key"].map(|name| folder.path().join(name));
    let write = |contents: [&str; 2]| {
        paths.iter().zip(contents).for_each(|(path, text)| fs::write(path, text).unwrap())
    };
    write(["ab", "c"]);
    let mut files = WatchedFiles::new("test", paths.to_vec(), || Ok(Vec::new()));
    files.load_first();
    write(["a", "bc"]);
    assert_eq!(files.check(), CheckOutcome::Changing);
}
