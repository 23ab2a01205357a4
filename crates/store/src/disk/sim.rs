//! A simulated disk. Follows with the crash-point explorer.
