//! Commands on sets.

use super::CommandSpec;

/// The commands of this family.
pub(super) const COMMANDS: &[CommandSpec] = &[];
