//! Habeas.
