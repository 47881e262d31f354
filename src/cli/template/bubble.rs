//! A message as a phone shows it, drawn with the characters of a terminal: pure.

use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

/// Columns of text inside the bubble.
const WIDTH: usize = 46;

/// Draws the bubble below the sender's name.
pub(super) fn draw(sender: &str, text: &str) -> String {
    let mut drawn = format!("  {}\n ╭{}╮\n", one_line(sender), "─".repeat(WIDTH + 2));
    for line in text.lines().flat_map(wrap).chain(std::iter::once(format!("{:>WIDTH$}", "✓✓"))) {
        let room = WIDTH.saturating_sub(line.width());
        drawn.extend([" │ ", &line, &" ".repeat(room), " │\n"]);
    }
    drawn.extend([" ╰", &"─".repeat(WIDTH + 2), "╯"]);
    drawn
}

fn one_line(text: &str) -> String {
    text.chars().filter(|character| !character.is_control()).collect()
}

/// Breaks a line between words; a word that no line holds is broken itself.
fn wrap(line: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in one_line(line).split(' ') {
        let last = lines.last_mut().expect("there is always a line");
        let space = usize::from(!last.is_empty());
        if last.width() + space + word.width() <= WIDTH {
            last.push_str(&" "[..space]);
            last.push_str(word);
            continue;
        }
        if !last.is_empty() {
            lines.push(String::new());
        }
        for character in word.chars() {
            let last = lines.last_mut().expect("there is always a line");
            if last.width() + character.width().unwrap_or(0) > WIDTH {
                lines.push(String::new());
            }
            lines.last_mut().expect("there is always a line").push(character);
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_as_wide_as_the_bubble() {
        let text = format!("Halo 👋 سارة,\n\n{}\nصيدلية {} akhir", "x".repeat(200), "kata ".repeat(30));
        let drawn = draw("RS\n Harapan", &text);
        let lines: Vec<&str> = drawn.lines().skip(1).collect();
        assert!(lines.iter().all(|line| line.width() == WIDTH + 5), "{drawn}");
        assert!(lines.len() > 10);
        assert_eq!(drawn.matches('x').count(), 200);
    }
}
