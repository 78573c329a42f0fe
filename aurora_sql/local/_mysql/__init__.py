"""The MySQL side of a local cluster: MySQL and MariaDB."""
