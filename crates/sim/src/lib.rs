//! Seeded simulation: the machines of a mesh, their disks, clocks and network in one process and one thread,
//! where every delay and every fault is drawn from a seed. The same seed gives the same run, to the event.
//!
//! [`register`] runs the record register of `larder-mesh` under faults and judges what clients were told. It
//! is not part of the product: it is built with planted bugs, which show that it would notice.

pub mod register;
pub mod single_cost;
