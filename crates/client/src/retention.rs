//! Which older versions stay: the rules are [`larder_format::retention`]; what they come to is [`mod@evaluate`].

mod evaluate;

pub use evaluate::stays;
