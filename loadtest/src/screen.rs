//! What the person before the screen reads: a story in chapters, 80 columns wide, and on a terminal one line at its end
//! that shows how far a long thing is.

use std::io::{IsTerminal as _, Write as _, stdout};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

const WIDTH: usize = 80;
/// How wide a line of a block can be.
pub const BLOCK: usize = WIDTH - 4;
/// Without a terminal progress becomes a line only so often, so that a log stays a log.
const SELDOM: Duration = Duration::from_secs(10);
/// Back to the beginning of the line, and nothing on it.
const CLEAR: &str = "\r\x1b[K";
const OFTEN: Duration = Duration::from_millis(100);

/// The screen: standard output.
#[derive(Debug)]
pub struct Screen {
    color: bool,
    live: bool,
    start: Instant,
    /// When progress was last shown, and whether it stands on the last line.
    progress: Mutex<(Instant, bool)>,
}

impl Default for Screen {
    fn default() -> Self {
        Self::new()
    }
}

impl Screen {
    /// Standard output as it is: colors and a living last line only on a terminal.
    pub fn new() -> Self {
        let live = stdout().is_terminal();
        let color = live && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let start = Instant::now();
        Self { color, live, start, progress: Mutex::new((start, false)) }
    }

    /// Since the screen was opened.
    pub fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    /// The title of a chapter, with the time so far.
    pub fn chapter(&self, title: &str) {
        let time = format!("[{:.0} s]", self.start.elapsed().as_secs_f64());
        let room = WIDTH.saturating_sub(time.len() + 1);
        self.line(&format!("\n{} {time}", self.paint("1", &format!("{title:<room$}"))));
    }

    /// Prose, wrapped.
    pub fn say(&self, text: &str) {
        for line in wrap(text, WIDTH - 2) {
            self.line(&format!("  {line}"));
        }
    }

    /// Something that happened as it should.
    pub fn fact(&self, text: &str) {
        for (number, line) in wrap(text, WIDTH - 4).into_iter().enumerate() {
            let mark = if number == 0 { self.paint("32", "*") } else { " ".to_owned() };
            self.line(&format!("  {mark} {line}"));
        }
    }

    /// A command that is run, as one would type it.
    pub fn command(&self, text: &str) {
        // Two columns less, for the backslash.
        let lines = wrap(text, BLOCK - 2);
        for (number, line) in lines.iter().enumerate() {
            let begin = if number == 0 { "$ " } else { "    " };
            let end = if number + 1 == lines.len() { "" } else { " \\" };
            self.line(&format!("  {}", self.paint("36", &format!("{begin}{line}{end}"))));
        }
    }

    /// What a command answers, or a table: line by line as it is. What does not fit goes on in the next line.
    pub fn block(&self, text: &str) {
        for line in text.lines() {
            for (number, part) in parts(line.trim_end(), BLOCK).iter().enumerate() {
                let indent = if number == 0 { "    " } else { "      " };
                self.line(format!("{indent}{part}").trim_end());
            }
        }
    }

    /// One line as it is, however long.
    pub fn verbatim(&self, text: &str) {
        self.line(&format!("    {text}"));
    }

    /// How far a long thing is. Replaced by whatever is written next.
    pub fn progress(&self, text: &str) {
        let mut progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        if progress.0.elapsed() < if self.live { OFTEN } else { SELDOM } {
            return;
        }
        let cut: String = text.chars().take(WIDTH - 6).collect();
        write(&if self.live { format!("{CLEAR}  ... {cut}") } else { format!("  ... {cut}\n") });
        *progress = (Instant::now(), self.live);
    }

    fn line(&self, text: &str) {
        let mut progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        write(&format!("{}{text}\n", if progress.1 { CLEAR } else { "" }));
        *progress = (Instant::now(), false);
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.color { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

fn write(text: &str) {
    // It fails when nobody reads any more (`make demo | head`); what is being done goes on all the same.
    let mut out = stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// Words in lines of at most `width` characters; a longer word has a line of its own.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in text.split_whitespace() {
        if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > width {
            lines.push(std::mem::take(&mut line));
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    lines.push(line);
    lines
}

/// A line as it is, in parts of at most `width` characters: cut at a space where there is one in the second half.
fn parts(line: &str, width: usize) -> Vec<String> {
    let mut parts = Vec::new();
    let mut rest: Vec<char> = line.chars().collect();
    while rest.len() > width {
        let space = rest[width / 2..=width].iter().rposition(|character| *character == ' ');
        let next = rest.split_off(space.map_or(width, |place| width / 2 + place + 1));
        parts.push(std::mem::replace(&mut rest, next).into_iter().collect::<String>().trim_end().to_owned());
    }
    parts.push(rest.into_iter().collect());
    parts
}

/// `12,345`.
pub fn thousands(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `850 ms`, `1.25 s`, `73 s`.
pub fn time(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    match seconds {
        _ if seconds < 0.9995 => format!("{:.0} ms", seconds * 1000.0),
        _ if seconds < 10.0 => format!("{seconds:.2} s"),
        _ => format!("{seconds:.0} s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prose_is_wrapped_at_words() {
        assert_eq!(wrap("one two  three\nfour", 8), ["one two", "three", "four"]);
        assert_eq!(wrap("enormous a", 3), ["enormous", "a"]);
        assert_eq!(wrap("", 3), [""]);
    }

    #[test]
    fn what_is_shown_as_it_is_is_cut_at_a_space_or_else_anywhere() {
        assert_eq!(parts("  one two", 9), ["  one two"]);
        assert_eq!(parts("one two three", 8), ["one two", "three"]);
        assert_eq!(parts("a enormous", 8), ["a enormo", "us"]);
        assert_eq!(parts("", 8), [""]);
    }

    #[test]
    fn figures_read_well() {
        assert_eq!([thousands(7), thousands(1000), thousands(1_234_567)], ["7", "1,000", "1,234,567"]);
        let times = [850, 999, 1_250, 72_600].map(|ms| time(Duration::from_millis(ms)));
        assert_eq!(times, ["850 ms", "999 ms", "1.25 s", "73 s"]);
    }
}
