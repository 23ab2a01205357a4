//! One request as it is carried out. What carries it out takes nothing but this, writes its reply, and waits for nothing.

use larder_door::resp::table::{Command, Word};
use larder_door::resp::{Args, Out, Verb};
use larder_format::clock::Hlc;

use super::session::Session;
use super::shared::Shared;

/// A request, who makes it, and where its reply goes.
pub(crate) struct Call<'a> {
    /// What all connections of the door share.
    pub(crate) shared: &'a Shared,
    /// The connection's state: who it is, which namespace, what `MULTI` queued.
    pub(crate) session: &'a mut Session,
    /// Its arguments; the first is its name.
    pub(crate) args: Args<'a>,
    /// Where the reply goes.
    pub(crate) out: &'a mut Out,
    /// The time to judge by: read once for what has come at once.
    pub(crate) now: Hlc,
}

impl<'a> Call<'a> {
    /// The argument at this place, or nothing.
    pub(crate) fn arg(&self, at: usize) -> &'a [u8] {
        self.args.at(at)
    }

    /// How many arguments there are, the name among them.
    pub(crate) fn len(&self) -> usize {
        self.args.len()
    }

    /// Says that an option or its place is none that the command has.
    pub(crate) fn syntax_error(&mut self) {
        self.out.error("ERR syntax error");
    }

    /// Says that an argument is no whole number, or beyond what fits.
    pub(crate) fn not_an_integer(&mut self) {
        self.out.error("ERR value is not an integer or out of range");
    }

    /// Says that there are too few or too many arguments.
    pub(crate) fn wrong_count(&mut self, command: &Command) {
        self.out.error(format_args!("ERR wrong number of arguments for '{}' command", command.name));
    }

    /// The second word of a command that has several meanings, in lower case; whatever is wrong with it, and `HELP`, is
    /// answered here.
    pub(crate) fn word(&mut self) -> Option<&'static str> {
        let name = Verb::find(self.arg(0)).map(|verb| (verb.name(), verb.words()));
        let (name, words) = name?;
        let second = self.arg(1);
        let found = words.iter().find(|word| word.name.as_bytes().eq_ignore_ascii_case(second));
        match found {
            None => {
                let second: String = String::from_utf8_lossy(second).chars().take(64).collect();
                let upper = name.to_ascii_uppercase();
                self.out.error(format_args!("ERR unknown subcommand '{second}'. Try {upper} HELP."));
                None
            }
            Some(word) if !word.takes(self.len()) => {
                let text = format!("ERR wrong number of arguments for '{name}|{}' command", word.name);
                self.out.error(text);
                None
            }
            Some(word) if word.name == "help" => {
                self.help(name, words);
                None
            }
            Some(word) => Some(word.name),
        }
    }

    fn help(&mut self, name: &str, words: &[Word]) {
        let upper = name.to_ascii_uppercase();
        self.out.array(words.len() * 2 + 1);
        self.out.simple(&format!("{upper} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:"));
        for word in words {
            self.out.simple(format!("{} {}", word.name.to_ascii_uppercase(), word.form).trim_end());
            self.out.simple(&format!("    {}", word.summary));
        }
    }

    /// The same session's next request, as `EXEC` carries out what was queued.
    pub(crate) fn with<'b>(&'b mut self, args: Args<'b>) -> Call<'b> {
        Call { shared: self.shared, session: self.session, args, out: self.out, now: self.now }
    }
}
