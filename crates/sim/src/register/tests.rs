//! Small runs that must always hold.
