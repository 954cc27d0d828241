//! Shapes that clients parse. What is expected was taken from redis-server 7.0.15.

use crate::command::testing::{Reply, TestClient};

#[test]
fn info_has_the_shape_that_clients_parse() {
    let mut client = TestClient::new();
    assert_eq!(
        String::from_utf8_lossy(&client.run_raw(&["COMMAND", "INFO", "get", "nosuch"])).replace("\r\n", " "),
        "*2 *10 $3 get :2 *2 +readonly +fast :1 :1 :1 *3 +@read +@string +@fast *0 *1 *6 $5 flags *2 +RO +access \
         $12 begin_search *4 $4 type $5 index $4 spec *2 $5 index :1 $9 find_keys *4 $4 type $5 range \
         $4 spec *6 $7 lastkey :0 $7 keystep :1 $5 limit :0 *0 $-1 "
    );
    let mut client = TestClient::resp3();
    assert_eq!(
        String::from_utf8_lossy(&client.run_raw(&["COMMAND", "INFO", "bitop"])).replace("\r\n", " "),
        "*1 *10 $5 bitop :-4 ~2 +write +denyoom :2 :-1 :1 ~3 +@write +@bitmap +@slow ~0 ~2 \
         %3 $5 flags ~2 +OW +update $12 begin_search %2 $4 type $5 index $4 spec %1 $5 index :2 \
         $9 find_keys %2 $4 type $5 range $4 spec %3 $7 lastkey :0 $7 keystep :1 $5 limit :0 \
         %3 $5 flags ~2 +RO +access $12 begin_search %2 $4 type $5 index $4 spec %1 $5 index :3 \
         $9 find_keys %2 $4 type $5 range $4 spec %3 $7 lastkey :-1 $7 keystep :1 $5 limit :0 ~0 "
    );
    let keys = client.run("COMMAND INFO config|set");
    assert_eq!(keys.items()[0].items()[0], Reply::bulk("config|set"));
}

#[test]
fn counts_and_lists_agree() {
    let mut client = TestClient::new();
    let described = client.run("COMMAND");
    let count = client.run("COMMAND COUNT").int();
    assert_eq!(described.items().len() as i64, count);
    assert_eq!(client.run("COMMAND INFO").items().len() as i64, count);
    let names = client.run("COMMAND LIST").sorted_texts();
    assert_eq!(names.iter().filter(|name| !name.contains('|')).count() as i64, count);
    assert!(names.contains(&"object|encoding".to_owned()));
    assert_eq!(client.run("COMMAND LIST FILTERBY PATTERN GETR*"), Reply::bulks(["getrange"]));
    assert_eq!(
        client.run("COMMAND LIST FILTERBY PATTERN cl*help").sorted_texts(),
        ["client|help", "cluster|help"].map(str::to_owned)
    );
    assert_eq!(client.run("COMMAND LIST FILTERBY ACLCAT hyperloglog").sorted_texts()[0], "pfadd");
    assert_eq!(client.run("COMMAND LIST FILTERBY MODULE x"), Reply::Array(vec![]));
    assert_eq!(client.run("COMMAND LIST FILTERBY FOO x"), Reply::error("ERR syntax error"));
}

#[test]
fn docs_are_maps_by_name() {
    let mut client = TestClient::resp3();
    let docs = client.run("COMMAND DOCS get object nosuch");
    assert_eq!(docs.field("get").field("group"), &Reply::bulk("string"));
    assert_eq!(docs.field("object").field("subcommands").field("object|help").field("since"), &Reply::bulk("6.2.0"));
    assert_eq!(client.run("COMMAND DOCS nosuch"), Reply::Map(vec![]));
}

#[test]
fn keys_are_found_in_requests() {
    let mut client = TestClient::new();
    assert_eq!(
        String::from_utf8_lossy(&client.run_raw(&["COMMAND", "GETKEYSANDFLAGS", "copy", "a", "b", "DB", "1"]))
            .replace("\r\n", " "),
        "*2 *2 $1 a *2 +RO +access *2 $1 b *2 +OW +update "
    );
    for (request, flags) in [
        ("set k v EX 10", "OW update"),
        ("set k v EX 10 get", "RW access update"),
        ("bitfield k GET u8 0 OVERFLOW FAIL get u8 8", "RO access"),
        ("bitfield k GET u8 0 SET u8 8 1", "RW access update"),
        ("bitfield k", "RO access"),
    ] {
        let found = client.run(&format!("COMMAND GETKEYSANDFLAGS {request}"));
        let words: Vec<String> = found.items()[0].items()[1].items().iter().map(Reply::text).collect();
        assert_eq!(words.join(" "), flags, "{request}");
    }
    assert_eq!(client.run("COMMAND GETKEYS mset a b c d"), Reply::bulks(["a", "c"]));
    assert_eq!(client.run("COMMAND GETKEYS object encoding k"), Reply::bulks(["k"]));
    assert_eq!(client.run("COMMAND GETKEYS nosuch a"), Reply::error("ERR Invalid command specified"));
    assert_eq!(client.run("COMMAND GETKEYS ping a"), Reply::error("ERR The command has no key arguments"));
    assert_eq!(
        client.run("COMMAND GETKEYS set a"),
        Reply::error("ERR Invalid number of arguments specified for command")
    );
    assert_eq!(
        String::from_utf8_lossy(&client.run_raw(&["COMMAND", "GETKEYSANDFLAGS", "bitop", "and", "d", "a", "b"]))
            .replace("\r\n", " "),
        "*3 *2 $1 d *2 +OW +update *2 $1 a *2 +RO +access *2 $1 b *2 +RO +access "
    );
}
