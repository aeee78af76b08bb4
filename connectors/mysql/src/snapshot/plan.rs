//! What is still to be read and by whom: tables, ranges, leases, chunks. Pure bookkeeping, no I/O.
