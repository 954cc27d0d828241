//! AUTH and HELLO.

use super::client;
use crate::command::{CommandError, Ctx, REDIS_VERSION, Session, Settings, parse};
use crate::protocol::{Args, Protocol};

const WRONG_PASSWORD: CommandError =
    CommandError::fixed("WRONGPASS invalid username-password pair or user is disabled.");

pub(super) fn auth(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let settings = &ctx.shared.settings;
    match args.len() {
        2 if !settings.password_required() => Err(CommandError::fixed(
            "ERR AUTH <password> called without any password configured for the default user. Are you sure your configuration is correct?",
        )),
        2 => authenticate(settings, ctx.session, b"default", args.at(1)),
        3 => authenticate(settings, ctx.session, args.at(1), args.at(2)),
        _ => Err(CommandError::SYNTAX),
    }?;
    ctx.reply.ok();
    Ok(())
}

/// There is one user, `default`; without a password it takes any.
fn authenticate(settings: &Settings, session: &mut Session, user: &[u8], password: &[u8]) -> Result<(), CommandError> {
    let right = !settings.password_required() || settings.password_matches(password);
    if user != b"default" || !right {
        return Err(WRONG_PASSWORD);
    }
    session.authenticated = true;
    Ok(())
}

pub(super) fn hello(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let protocol = match args.get(1) {
        None => None,
        Some(version) => Some(protocol_of(version)?),
    };
    let (mut credentials, mut name) = (None, None);
    let mut at = 2;
    // Ends: each turn moves on by the words it takes.
    while let Some(option) = args.get(at) {
        match (args.get(at + 1), args.get(at + 2)) {
            (Some(user), Some(password)) if parse::is_word(option, "AUTH") => {
                credentials = Some((user, password));
                at += 3;
            }
            (Some(given), _) if parse::is_word(option, "SETNAME") => {
                client::check_label(given).map_err(|()| client::BAD_NAME)?;
                name = Some(given);
                at += 2;
            }
            _ => {
                let option = String::from_utf8_lossy(option);
                return Err(CommandError::new(format!("ERR Syntax error in HELLO option '{option}'")));
            }
        }
    }
    if let Some((user, password)) = credentials {
        authenticate(&ctx.shared.settings, ctx.session, user, password)?;
    }
    if !ctx.session.authenticated {
        return Err(CommandError::fixed(
            "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO AUTH <user> <pass> option can be used to authenticate the client and select the RESP protocol version at the same time",
        ));
    }
    if let Some(name) = name {
        ctx.session.client.update_labels(|labels| labels.name = name.to_vec());
    }
    if let Some(protocol) = protocol {
        ctx.speak(protocol);
    }
    describe_server(ctx);
    Ok(())
}

fn protocol_of(version: &[u8]) -> Result<Protocol, CommandError> {
    match parse::integer(version) {
        Some(2) => Ok(Protocol::Resp2),
        Some(3) => Ok(Protocol::Resp3),
        Some(_) => Err(CommandError::fixed("NOPROTO unsupported protocol version")),
        None => Err(CommandError::fixed("ERR Protocol version is not an integer or out of range")),
    }
}

fn describe_server(ctx: &mut Ctx<'_>) {
    let version = match ctx.session.protocol {
        Protocol::Resp2 => 2,
        Protocol::Resp3 => 3,
    };
    let reply = &mut ctx.reply;
    reply.map_header(7);
    // Clients look at this name and version to see what they may use.
    for (field, value) in [("server", "redis"), ("version", REDIS_VERSION)] {
        reply.bulk(field.as_bytes());
        reply.bulk(value.as_bytes());
    }
    reply.bulk(b"proto");
    reply.integer(version);
    reply.bulk(b"id");
    reply.integer(ctx.session.id as i64);
    for (field, value) in [("mode", "standalone"), ("role", "master")] {
        reply.bulk(field.as_bytes());
        reply.bulk(value.as_bytes());
    }
    reply.bulk(b"modules");
    reply.array_header(0);
}
