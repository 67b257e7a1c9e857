//! Every file-system call of mkts, real and simulated.
