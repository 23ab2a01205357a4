//! A typed line as commands, and a command as words: blanks separate words, `;` and line ends separate commands, `#` at
//! the beginning of a word begins a remark; quotes and backslashes as in other shells. Nothing is expanded.

/// Splits a text into commands of words. Commands without words are left out.
///
/// # Errors
/// A sentence that says which quote is not closed.
pub fn commands(text: &str) -> Result<Vec<Vec<String>>, String> {
    let mut split = Splitting::default();
    split.all(text);
    match split.quote {
        Some(quote) => Err(format!("a {quote} is not closed")),
        None if split.escaped => Err("the line ends in a backslash".to_owned()),
        None => {
            split.end_command();
            Ok(split.commands)
        }
    }
}

/// The words of the command under the cursor, given the line up to there; the last one, perhaps empty, is being typed.
/// And where that one begins, in bytes.
pub fn before_cursor(line: &str) -> (Vec<String>, usize) {
    let mut split = Splitting::default();
    split.all(line);
    let start = if split.in_word { split.word_start } else { line.len() };
    let mut words = split.words;
    words.push(split.word);
    (words, start)
}

/// A word as it can be typed: characters that mean something are escaped.
pub fn escaped(word: &str) -> String {
    let mut out = String::with_capacity(word.len());
    for c in word.chars() {
        if c.is_whitespace() || matches!(c, '\'' | '"' | '\\' | ';' | '#') {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

#[derive(Default)]
struct Splitting {
    commands: Vec<Vec<String>>,
    words: Vec<String>,
    word: String,
    /// A word has begun, perhaps with nothing in it yet, as after a quote.
    in_word: bool,
    word_start: usize,
    quote: Option<char>,
    escaped: bool,
    remark: bool,
}

impl Splitting {
    fn all(&mut self, text: &str) {
        for (place, c) in text.char_indices() {
            self.one(place, c);
        }
    }

    fn one(&mut self, place: usize, c: char) {
        if self.remark {
            self.remark = c != '\n';
            if !self.remark {
                self.end_command();
            }
            return;
        }
        if self.escaped {
            self.escaped = false;
            return self.push(place, c);
        }
        match (self.quote, c) {
            (Some(quote), c) if c == quote => self.quote = None,
            (None | Some('"'), '\\') => {
                self.begin(place);
                self.escaped = true;
            }
            (Some(_), c) => self.push(place, c),
            (None, '\'' | '"') => {
                self.begin(place);
                self.quote = Some(c);
            }
            (None, ';' | '\n') => self.end_command(),
            (None, '#') if !self.in_word => self.remark = true,
            (None, c) if c.is_whitespace() => self.end_word(),
            (None, c) => self.push(place, c),
        }
    }

    fn begin(&mut self, place: usize) {
        if !self.in_word {
            self.in_word = true;
            self.word_start = place;
        }
    }

    fn push(&mut self, place: usize, c: char) {
        self.begin(place);
        self.word.push(c);
    }

    fn end_word(&mut self) {
        if self.in_word {
            self.words.push(std::mem::take(&mut self.word));
            self.in_word = false;
        }
    }

    fn end_command(&mut self) {
        self.end_word();
        if !self.words.is_empty() {
            self.commands.push(std::mem::take(&mut self.words));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(text: &str) -> Vec<Vec<String>> {
        commands(text).unwrap()
    }

    #[test]
    fn words_quotes_and_commands() {
        assert_eq!(
            split("  ls   -l ; get a\\ b 'c d' \"e\\\"f\" ''\n# no\n;;pwd # yes"),
            [vec!["ls", "-l"], vec!["get", "a b", "c d", "e\"f", ""], vec!["pwd"],]
        );
        assert_eq!(split("put a#b 'x;y' émoji🦀"), [["put", "a#b", "x;y", "émoji🦀"]]);
        assert_eq!(split(r"a'\'b"), [["a\\b"]]);
        assert!(split(" ; # ls").is_empty());
        assert_eq!(commands("cat 'x"), Err("a ' is not closed".to_owned()));
        assert!(commands("cat x\\").is_err());
    }

    #[test]
    fn what_is_escaped_is_one_word_again() {
        for word in ["plain", "a b", "it's", "a\"b\\c;d", "#x", "tab\there"] {
            assert_eq!(split(&format!("x {}", escaped(word))), [["x", word]]);
        }
    }

    #[test]
    fn the_word_under_the_cursor() {
        let typed = |line: &str| {
            let (words, start) = before_cursor(line);
            (words.join("|"), start)
        };
        assert_eq!(typed(""), (String::new(), 0));
        assert_eq!(typed("ls"), ("ls".to_owned(), 0));
        assert_eq!(typed("ls "), ("ls|".to_owned(), 3));
        assert_eq!(typed("get my\\ ph"), ("get|my ph".to_owned(), 4));
        assert_eq!(typed("pwd; cat 'a b"), ("cat|a b".to_owned(), 9));
    }
}
