//! docs/seed.md names a test for each promise of the former README: each of them is there.

use std::path::Path;

use crate::script::root;

fn sources(dir: &Path, text: &mut String) {
    for entry in std::fs::read_dir(dir).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if path.is_dir() && entry.file_name() != "target" {
            sources(&path, text);
        } else if path.extension().is_some_and(|end| end == "rs") {
            text.push_str(&std::fs::read_to_string(path).unwrap());
        }
    }
}

/// What stands in backquotes and is written as tests are: four words or more.
fn named(page: &str) -> Vec<&str> {
    let quoted = page.lines().flat_map(|line| line.split('`').skip(1).step_by(2));
    quoted
        .filter(|word| word.matches('_').count() >= 3)
        .filter(|word| word.chars().all(|c| c == '_' || c.is_ascii_lowercase() || c.is_ascii_digit()))
        .collect()
}

#[test]
fn every_test_that_the_page_of_the_seed_names_exists() {
    let mut text = String::new();
    for dir in ["src", "tests", "loadtest"] {
        sources(&root().join(dir), &mut text);
    }
    let page = std::fs::read_to_string(root().join("docs/seed.md")).unwrap();
    let named = named(&page);
    assert!(named.len() > 40, "{} tests are named", named.len());
    let missing: Vec<&&str> = named.iter().filter(|name| !text.contains(&format!("fn {name}("))).collect();
    assert!(missing.is_empty(), "docs/seed.md names tests that do not exist: {missing:#?}");
}

#[test]
fn a_name_that_is_no_test_is_found_out() {
    assert_eq!(
        named("| `a_b_c_d` | `make test` `x_y` `config/rbac_and_so_on` | `one_two_three_four_5` |"),
        ["a_b_c_d", "one_two_three_four_5"]
    );
}
