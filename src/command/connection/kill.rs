//! CLIENT KILL: its two forms, and the options of the second.

use super::client::class_arg;
use crate::command::clients::{Client, ClientClass, Signals};
use crate::command::{After, CommandError, Ctx, parse};
use crate::protocol::Args;

/// Which connections are meant: those that every given option holds for.
struct Filter<'a> {
    id: Option<u64>,
    peer: Option<&'a [u8]>,
    local: Option<&'a [u8]>,
    /// `Some(None)`: a class that no client here is of.
    class: Option<Option<ClientClass>>,
    skip_me: bool,
}

impl<'a> Filter<'a> {
    fn parse(args: Args<'a>) -> Result<Self, CommandError> {
        let mut filter = Self { id: None, peer: None, local: None, class: None, skip_me: true };
        let mut at = 2;
        // Ends: each turn takes two words.
        while let Some(option) = args.get(at) {
            let value = args.get(at + 1).ok_or(CommandError::SYNTAX)?;
            filter.take(option, value)?;
            at += 2;
        }
        Ok(filter)
    }

    fn take(&mut self, option: &[u8], value: &'a [u8]) -> Result<(), CommandError> {
        match option.to_ascii_uppercase().as_slice() {
            b"ID" => {
                let id = parse::integer(value).filter(|id| *id > 0);
                let id = id.ok_or(CommandError::fixed("ERR client-id should be greater than 0"))?;
                self.id = Some(id as u64);
            }
            b"TYPE" => self.class = Some(class_arg(value)?),
            b"ADDR" => self.peer = Some(value),
            b"LADDR" => self.local = Some(value),
            b"USER" if value == b"default" => {}
            b"USER" => {
                let user = String::from_utf8_lossy(value);
                return Err(CommandError::new(format!("ERR No such user '{user}'")));
            }
            b"SKIPME" if parse::is_word(value, "YES") => self.skip_me = true,
            b"SKIPME" if parse::is_word(value, "NO") => self.skip_me = false,
            _ => return Err(CommandError::SYNTAX),
        }
        Ok(())
    }

    fn holds_for(&self, client: &Client, my_id: u64) -> bool {
        self.id.is_none_or(|id| id == client.id())
            && self.peer.is_none_or(|peer| peer == client.peer().as_bytes())
            && self.local.is_none_or(|local| local == client.local().as_bytes())
            && self.class.is_none_or(|class| class == Some(client.class()))
            && !(self.skip_me && client.id() == my_id)
    }
}

pub(super) fn kill(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let by_address = args.len() == 3;
    let filter = if by_address {
        Filter { id: None, peer: Some(args.at(2)), local: None, class: None, skip_me: false }
    } else {
        Filter::parse(args)?
    };
    let my_id = ctx.session.id;
    let mut killed = 0;
    for client in ctx.shared.clients.all().into_iter().filter(|client| filter.holds_for(client, my_id)) {
        killed += 1;
        if client.id() == my_id {
            // This one still gets its reply.
            ctx.after = After::Close;
        } else {
            client.signal(Signals::KILL);
        }
    }
    match (by_address, killed) {
        (true, 0) => return Err(CommandError::fixed("ERR No such client")),
        (true, _) => ctx.reply.ok(),
        (false, _) => ctx.reply.integer(killed),
    }
    Ok(())
}
