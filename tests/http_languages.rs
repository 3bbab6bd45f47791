//! HTTP in other languages.
