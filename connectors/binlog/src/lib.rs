//! The binlog of MySQL and MariaDB, decoded without I/O.
