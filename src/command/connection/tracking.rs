//! CLIENT TRACKING, CACHING, TRACKINGINFO and GETREDIR: what a client is told of keys that it may hold copies of.

use crate::command::clients::{Client, ClientFlags};
use crate::command::tracking::{Options, SessionTracking};
use crate::command::{CommandError, Ctx, Modes, Session, Shared, parse};
use crate::protocol::Args;
use std::sync::Arc;

/// The options of CLIENT TRACKING ON.
#[derive(Default)]
struct Request<'a> {
    redirect: Option<Arc<Client>>,
    options: Options,
    prefixes: Vec<&'a [u8]>,
}

impl<'a> Request<'a> {
    fn parse(ctx: &Ctx<'_>, args: Args<'a>) -> Result<Self, CommandError> {
        let mut request = Self::default();
        let mut at = 0;
        // Ends: `at` grows each turn.
        while let Some(word) = args.get(at) {
            match args.get(at + 1) {
                Some(id) if parse::is_word(word, "REDIRECT") => {
                    request.redirect_to(ctx, id)?;
                    at += 1;
                }
                Some(prefix) if parse::is_word(word, "PREFIX") => {
                    request.prefixes.push(prefix);
                    at += 1;
                }
                _ => request.options |= option(word)?,
            }
            at += 1;
        }
        Ok(request)
    }

    fn redirect_to(&mut self, ctx: &Ctx<'_>, id: &[u8]) -> Result<(), CommandError> {
        if self.redirect.is_some() {
            return Err(CommandError::fixed("ERR A client can only redirect to a single other client"));
        }
        let id = parse::integer_arg(id)?;
        let target = u64::try_from(id).ok().and_then(|id| ctx.shared.tracking.target(id));
        let missing = || CommandError::fixed("ERR The client ID you want redirect to does not exist");
        self.redirect = Some(target.ok_or_else(missing)?);
        Ok(())
    }

    /// Whether the options go together, and with those in force.
    fn check(&self, ctx: &Ctx<'_>) -> Result<(), CommandError> {
        let Self { options, .. } = self;
        let current = ctx.session.tracking.options;
        let tracks = ctx.session.modes.contains(Modes::TRACKING);
        let bcast = options.contains(Options::BCAST);
        let (optin, optout) = (options.contains(Options::OPTIN), options.contains(Options::OPTOUT));
        if !bcast && !self.prefixes.is_empty() {
            return Err(CommandError::fixed("ERR PREFIX option requires BCAST mode to be enabled"));
        }
        if tracks && bcast != current.contains(Options::BCAST) {
            return Err(switched("BCAST mode on/off"));
        }
        if bcast && (optin || optout) {
            return Err(CommandError::fixed("ERR OPTIN and OPTOUT are not compatible with BCAST"));
        }
        if optin && optout {
            return Err(CommandError::fixed("ERR You can't specify both OPTIN mode and OPTOUT mode"));
        }
        if optin && current.contains(Options::OPTOUT) || optout && current.contains(Options::OPTIN) {
            return Err(switched("OPTIN/OPTOUT mode"));
        }
        if bcast { self.check_prefixes(&ctx.session.tracking) } else { Ok(()) }
    }

    /// No two of a client's prefixes may begin alike: it would be told twice.
    fn check_prefixes(&self, current: &SessionTracking) -> Result<(), CommandError> {
        let overlap = |a: &[u8], b: &[u8]| a.starts_with(b) || b.starts_with(a);
        let refuse = |prefix: &[u8], which: &str, other: &[u8]| {
            let [prefix, other] = [prefix, other].map(String::from_utf8_lossy);
            Err(CommandError::new(format!(
                "ERR Prefix '{prefix}' overlaps with {which} prefix '{other}'. Prefixes for a single client must not overlap."
            )))
        };
        for (i, prefix) in self.prefixes.iter().enumerate() {
            if let Some(other) = current.prefixes.iter().find(|other| overlap(prefix, other)) {
                return refuse(prefix, "an existing", other);
            }
            if let Some(other) = self.prefixes[i + 1..].iter().find(|other| overlap(prefix, other)) {
                return refuse(prefix, "another provided", other);
            }
        }
        Ok(())
    }
}

fn option(word: &[u8]) -> Result<Options, CommandError> {
    const WORDS: [(&str, Options); 4] = [
        ("BCAST", Options::BCAST),
        ("OPTIN", Options::OPTIN),
        ("OPTOUT", Options::OPTOUT),
        ("NOLOOP", Options::NOLOOP),
    ];
    WORDS.iter().find(|(name, _)| parse::is_word(word, name)).map(|(_, option)| *option).ok_or(CommandError::SYNTAX)
}

fn switched(what: &str) -> CommandError {
    CommandError::new(format!(
        "ERR You can't switch {what} before disabling tracking for this client, and then re-enabling it with a different mode."
    ))
}

pub(super) fn tracking(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let request = Request::parse(ctx, args.from(3))?;
    if super::client::on_off(args.at(2))? {
        request.check(ctx)?;
        start(ctx, request);
    } else {
        stop(ctx.shared, ctx.session);
    }
    ctx.reply.ok();
    Ok(())
}

fn start(ctx: &mut Ctx<'_>, request: Request<'_>) {
    let tracking = &mut ctx.session.tracking;
    tracking.options = request.options;
    tracking.prefixes.extend(request.prefixes.iter().map(|prefix| prefix.to_vec()));
    if request.options.contains(Options::BCAST) && request.prefixes.is_empty() {
        // All keys.
        tracking.prefixes.insert(Vec::new());
    }
    ctx.session.modes.insert(Modes::TRACKING | Modes::LISTENING);
    let client = &ctx.session.client;
    client.set_flag(ClientFlags::TRACKING, true);
    client.set_flag(ClientFlags::BCAST, request.options.contains(Options::BCAST));
    client.set_redirect(Some(request.redirect.as_ref().map_or(0, |target| target.id() as i64)));
    let Request { redirect, options, .. } = request;
    ctx.shared.tracking.start(
        ctx.store,
        client,
        redirect,
        options,
        &ctx.session.tracking.prefixes,
        !ctx.session.in_exec,
    );
}

/// TRACKING OFF, and what a session that ends leaves behind.
pub(super) fn stop(shared: &Shared, session: &mut Session) {
    if session.modes.contains(Modes::TRACKING) {
        let SessionTracking { prefixes, .. } = std::mem::take(&mut session.tracking);
        shared.tracking.stop(&session.client, &prefixes);
        session.modes.remove(Modes::TRACKING);
        session.client.set_flag(ClientFlags::TRACKING, false);
        session.client.set_flag(ClientFlags::BCAST, false);
        session.client.set_redirect(None);
        crate::command::pubsub::follow(session);
    }
}

pub(super) fn caching(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let options = ctx.session.tracking.options;
    if !options.intersects(Options::OPTIN | Options::OPTOUT) {
        return Err(CommandError::fixed(
            "ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or OPTOUT mode enabled",
        ));
    }
    let yes = match args.at(2) {
        word if parse::is_word(word, "YES") => true,
        word if parse::is_word(word, "NO") => false,
        _ => return Err(CommandError::SYNTAX),
    };
    if yes && !options.contains(Options::OPTIN) {
        return Err(CommandError::fixed(
            "ERR CLIENT CACHING YES is only valid when tracking is enabled in OPTIN mode.",
        ));
    }
    if !yes && !options.contains(Options::OPTOUT) {
        return Err(CommandError::fixed(
            "ERR CLIENT CACHING NO is only valid when tracking is enabled in OPTOUT mode.",
        ));
    }
    ctx.session.tracking.caching = true;
    ctx.reply.ok();
    Ok(())
}

pub(super) fn redirection(ctx: &mut Ctx<'_>, _args: Args<'_>) -> Result<(), CommandError> {
    ctx.reply.integer(ctx.session.client.redirect());
    Ok(())
}

pub(super) fn info(ctx: &mut Ctx<'_>, _args: Args<'_>) -> Result<(), CommandError> {
    let SessionTracking { options, caching, prefixes } = &ctx.session.tracking;
    let tracks = ctx.session.modes.contains(Modes::TRACKING);
    let (optin, optout) = (options.contains(Options::OPTIN), options.contains(Options::OPTOUT));
    let words: Vec<&str> = [
        (!tracks, "off"),
        (tracks, "on"),
        (options.contains(Options::BCAST), "bcast"),
        (optin, "optin"),
        (optin && *caching, "caching-yes"),
        (optout, "optout"),
        (optout && *caching, "caching-no"),
        (options.contains(Options::NOLOOP), "noloop"),
        (ctx.session.client.has_broken_redirect(), "broken_redirect"),
    ]
    .into_iter()
    .filter_map(|(holds, word)| holds.then_some(word))
    .collect();
    let reply = &mut ctx.reply;
    reply.map_header(3);
    reply.bulk(b"flags");
    reply.set_header(words.len());
    words.iter().for_each(|word| reply.bulk(word.as_bytes()));
    reply.bulk(b"redirect");
    reply.integer(ctx.session.client.redirect());
    reply.bulk(b"prefixes");
    reply.array_header(prefixes.len());
    prefixes.iter().for_each(|prefix| reply.bulk(prefix));
    Ok(())
}
