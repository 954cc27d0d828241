//! Commands on places on the globe.

use super::CommandSpec;

/// The commands of this family.
pub(super) const COMMANDS: &[CommandSpec] = &[];
