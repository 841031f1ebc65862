//! What documents name is there: the tests in docs/seed.md and docs/clusters.md, the targets and files in the README.

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
fn every_test_that_a_page_names_exists() {
    let mut text = String::new();
    for dir in ["src", "tests", "loadtest"] {
        sources(&root().join(dir), &mut text);
    }
    for (page, least) in [("docs/seed.md", 40), ("docs/clusters.md", 6)] {
        let content = std::fs::read_to_string(root().join(page)).unwrap();
        let named = named(&content);
        assert!(named.len() > least, "{page}: {} tests are named", named.len());
        let missing: Vec<&&str> = named.iter().filter(|name| !text.contains(&format!("fn {name}("))).collect();
        assert!(missing.is_empty(), "{page} names tests that do not exist: {missing:#?}");
    }
}

#[test]
fn a_name_that_is_no_test_is_found_out() {
    assert_eq!(
        named("| `a_b_c_d` | `make test` `x_y` `config/rbac_and_so_on` | `one_two_three_four_5` |"),
        ["a_b_c_d", "one_two_three_four_5"]
    );
}

/// What stands in backquotes, in text and in commands.
fn quoted(page: &str) -> impl Iterator<Item = &str> {
    page.lines().flat_map(|line| line.strip_prefix("$ ").into_iter().chain(line.split('`').skip(1).step_by(2)))
}

#[test]
fn every_target_and_file_that_the_readme_names_exists() {
    let page = std::fs::read_to_string(root().join("README.md")).unwrap();
    let makefile = std::fs::read_to_string(root().join("Makefile")).unwrap();
    let (mut targets, mut files) = (0, 0);
    for words in
        quoted(&page).map(|command| command.split([' ', '=']).filter(|word| !word.is_empty()).collect::<Vec<_>>())
    {
        if words.first() == Some(&"make") {
            for target in words[1..].iter().take_while(|word| word.chars().all(|c| c == '-' || c.is_ascii_lowercase()))
            {
                assert!(makefile.contains(&format!("\n{target}:")), "the README says `make {target}`");
                targets += 1;
            }
        }
        let is_file =
            |word: &&&str| ["deploy/", "crds/", "docs/", "src/", "loadtest/"].iter().any(|dir| word.starts_with(dir));
        for file in words.iter().filter(is_file).filter(|file| !file.contains(['*', '<'])) {
            assert!(root().join(file.trim_end_matches([',', ':'])).exists(), "the README says `{file}`");
            files += 1;
        }
    }
    for link in page.split("](").skip(1).map(|rest| rest.split(')').next().unwrap()) {
        if !link.contains("://") && !link.starts_with('#') {
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            assert!(root().join(file).exists(), "the README links to {link}");
            if !anchor.is_empty() {
                let text = std::fs::read_to_string(root().join(file)).unwrap();
                let mut headings = text.lines().filter(|line| line.starts_with('#'));
                let is_it =
                    |heading: &str| heading.trim_start_matches(['#', ' ']).to_lowercase().replace(' ', "-") == anchor;
                assert!(headings.any(is_it), "the README links to {link}");
            }
            files += 1;
        }
    }
    assert!(targets > 5 && files > 20, "{targets} targets, {files} files");
}
