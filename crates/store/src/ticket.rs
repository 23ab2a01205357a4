//! placeholder, replaced by the store's author
/// A promise of durability.
#[derive(Debug, Clone)]
pub struct Ticket;
