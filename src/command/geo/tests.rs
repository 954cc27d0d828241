//! Commands on places over a store in memory. Replies and error texts are those of redis-server 7.0.15.

use super::area::{Area, Shape, distance_m};
use super::cell::{LATITUDES, Place};
use crate::command::testing::{Reply, TestClient};

const NIL: Reply = Reply::Null;

fn int(value: i64) -> Reply {
    Reply::Integer(value)
}

fn error(text: &str) -> Reply {
    Reply::error(&format!("ERR {text}"))
}

fn sicily() -> TestClient {
    let mut client = TestClient::new();
    assert_eq!(client.run("GEOADD s 13.361389 38.115556 Palermo 15.087269 37.502669 Catania"), int(2));
    client
}

#[test]
fn places_are_scores() {
    let mut client = sicily();
    assert_eq!(
        client.run("ZRANGE s 0 -1 WITHSCORES"),
        Reply::bulks(["Palermo", "3479099956230698", "Catania", "3479447370796909"])
    );
    assert_eq!(
        client.run("GEOPOS s Palermo none"),
        Reply::Array(vec![Reply::bulks(["13.36138933897018433", "38.11555639549629859"]), NIL])
    );
    assert_eq!(
        client.run("GEOHASH s Palermo Catania none").items()[..2],
        [Reply::bulk("sqc8b49rny0"), Reply::bulk("sqdtr74hyu0")]
    );
    assert_eq!(client.run("GEOPOS none a"), Reply::Array(vec![NIL]));
    assert_eq!(client.run("GEODIST s Palermo Catania"), Reply::bulk("166274.1516"));
    assert_eq!(client.run("GEODIST s Palermo Catania km"), Reply::bulk("166.2742"));
    assert_eq!(client.run("GEODIST s Palermo Catania MI"), Reply::bulk("103.3182"));
    assert_eq!(client.run("GEODIST s Palermo Palermo"), Reply::bulk("0.0000"));
    assert_eq!(client.run("GEODIST s Palermo none"), NIL);
    assert_eq!(client.run("GEOADD s XX CH 13.5 38 Palermo 1 1 none"), int(1));
    assert_eq!(client.run("GEOADD s NX 1 1 Palermo"), int(0));

    let mut client = TestClient::resp3();
    client.run("GEOADD s 13.361389 38.115556 Palermo");
    let raw = client.run_raw(&["GEOPOS", "s", "Palermo", "none"]);
    assert_eq!(raw, b"*2\r\n*2\r\n,13.36138933897018433\r\n,38.11555639549629859\r\n_\r\n");
}

#[test]
fn searches_find_what_is_within() {
    let mut client = sicily();
    assert_eq!(client.run("GEORADIUS s 15 37 200 km ASC"), Reply::bulks(["Catania", "Palermo"]));
    assert_eq!(client.run("GEORADIUS s 15 37 100 km"), Reply::bulks(["Catania"]));
    assert_eq!(
        client.run("GEORADIUS s 15 37 200 km WITHDIST WITHHASH WITHCOORD DESC COUNT 1"),
        Reply::Array(vec![Reply::Array(vec![
            Reply::bulk("Palermo"),
            Reply::bulk("190.4424"),
            int(3479099956230698),
            Reply::bulks(["13.36138933897018433", "38.11555639549629859"]),
        ])])
    );
    assert_eq!(client.run("GEORADIUSBYMEMBER s Palermo 200 km DESC"), Reply::bulks(["Catania", "Palermo"]));
    assert_eq!(client.run("GEORADIUSBYMEMBER_RO s Palermo 100 km"), Reply::bulks(["Palermo"]));
    assert_eq!(client.run("GEOSEARCH s FROMLONLAT 15 37 BYBOX 400 400 km ASC"), Reply::bulks(["Catania", "Palermo"]));
    assert_eq!(client.run("GEOSEARCH s FROMMEMBER Catania BYBOX 2 2 m"), Reply::bulks(["Catania"]));
    assert_eq!(client.run("GEOSEARCH s FROMLONLAT 15 37 BYRADIUS 200 km COUNT 1 ANY").items().len(), 1);
    assert_eq!(client.run("GEOSEARCH none FROMMEMBER x BYRADIUS 1 km"), Reply::Array(vec![]));
}

#[test]
fn results_are_stored() {
    let mut client = sicily();
    assert_eq!(client.run("GEORADIUS s 15 37 200 km STORE d"), int(2));
    assert_eq!(client.run("GEODIST d Palermo Catania"), Reply::bulk("166274.1516"));
    assert_eq!(client.run("GEORADIUSBYMEMBER s Palermo 100 km STOREDIST d"), int(1));
    assert_eq!(client.run("ZRANGE d 0 -1 WITHSCORES"), Reply::bulks(["Palermo", "0"]));
    assert_eq!(client.run("GEOSEARCHSTORE d s FROMLONLAT 15 37 BYRADIUS 200 km STOREDIST DESC COUNT 1"), int(1));
    assert_eq!(client.run("ZRANGE d 0 -1"), Reply::bulks(["Palermo"]));
    assert_eq!(client.run("GEOSEARCHSTORE d s FROMLONLAT 0 0 BYRADIUS 1 m"), int(0));
    assert_eq!(client.run("EXISTS d"), int(0));
    client.run("SET d text");
    assert_eq!(client.run("GEORADIUS none 15 37 200 km STORE d"), int(0));
    assert_eq!(client.run("EXISTS d"), int(0));
    assert_eq!(client.run("GEOSEARCHSTORE s s FROMMEMBER Palermo BYRADIUS 1 km"), int(1));
    assert_eq!(client.run("ZCARD s"), int(1));
    assert_eq!(client.run("COMMAND GETKEYS GEORADIUS a 1 2 3 m ASC store d"), Reply::bulks(["a", "d"]));
    assert_eq!(client.run("COMMAND GETKEYS GEORADIUS a 1 2 3 m ASC"), Reply::bulks(["a"]));
}

#[test]
fn what_is_wrong_is_said_in_the_words_of_redis() {
    let mut client = sicily();
    client.run("SET text x");
    for (line, text) in [
        ("GEOADD s 1 2", "wrong number of arguments for 'geoadd' command"),
        ("GEOADD s 1 2 a 3", "syntax error"),
        ("GEOADD s NX XX 1 2 a", "syntax error"),
        ("GEOADD s GT 1 2 a", "syntax error"),
        ("GEOADD s x 2 a", "value is not a valid float"),
        ("GEOADD s 181 2 a", "invalid longitude,latitude pair 181.000000,2.000000"),
        ("GEODIST s Palermo Catania mm", "unsupported unit provided. please use M, KM, FT, MI"),
        ("GEODIST s Palermo Catania m m", "syntax error"),
        ("GEORADIUS s 15 37 x km", "need numeric radius"),
        ("GEORADIUS s 15 37 -1 km", "radius cannot be negative"),
        ("GEORADIUS s 15 37 1 km COUNT 0", "COUNT must be > 0"),
        ("GEORADIUS s 15 37 1 km ANY", "the ANY argument requires COUNT argument"),
        (
            "GEORADIUS s 15 37 1 km WITHDIST STORE d",
            "STORE option in GEORADIUS is not compatible with WITHDIST, WITHHASH and WITHCOORD options",
        ),
        ("GEORADIUS_RO s 15 37 1 km STORE d", "syntax error"),
        ("GEORADIUSBYMEMBER s none 1 km", "could not decode requested zset member"),
        ("GEOSEARCH s FROMMEMBER none BYRADIUS 1 km", "could not decode requested zset member"),
        ("GEOSEARCH s FROMLONLAT 15 37 BYBOX x 1 km", "need numeric width"),
        ("GEOSEARCH s FROMLONLAT 15 37 BYBOX 1 x km", "need numeric height"),
        ("GEOSEARCH s FROMLONLAT 15 37 BYBOX 1 -1 km", "height or width cannot be negative"),
        ("GEOSEARCH s BYRADIUS 1 km ASC ASC", "exactly one of FROMMEMBER or FROMLONLAT can be specified for GEOSEARCH"),
        ("GEOSEARCH s FROMLONLAT 15 37 ASC ASC", "exactly one of BYRADIUS and BYBOX can be specified for GEOSEARCH"),
        ("GEOSEARCH s FROMLONLAT 15 37 FROMMEMBER Palermo BYRADIUS 1 km", "syntax error"),
        (
            "GEOSEARCHSTORE d s FROMMEMBER Palermo BYRADIUS 1 km WITHDIST",
            "GEOSEARCHSTORE is not compatible with WITHDIST, WITHHASH and WITHCOORD options",
        ),
    ] {
        assert_eq!(client.run(line), error(text), "{line}");
    }
    for line in ["GEOADD text 1 2 a", "GEOPOS text", "GEORADIUS text x", "GEOSEARCH text FOO 1 2 3 4"] {
        assert!(matches!(client.run(line), Reply::Error(text) if text.starts_with("WRONGTYPE") || line.ends_with('x')));
    }
}

/// Goal: no place within an area lies outside the cells that cover it. Method: areas of all sizes all over the globe, and places in and around them.
#[test]
fn cells_cover_their_area() {
    let mut seed = 5u64;
    let mut random = |least: f64, most: f64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        least + (most - least) * ((seed >> 11) as f64 / (1u64 << 53) as f64)
    };
    let (mut within, mut covered) = (0, 0);
    for _ in 0..20_000 {
        let middle = Place { longitude: random(-170.0, 170.0), latitude: random(-80.0, 80.0) };
        let reach_m = 10f64.powf(random(0.0, 6.0));
        let shape = if random(0.0, 1.0) < 0.5 {
            Shape::Circle { radius_m: reach_m }
        } else {
            Shape::Box { width_m: reach_m, height_m: reach_m * random(0.2, 5.0) }
        };
        let area = Area { middle, shape };
        let cells = area.cells();
        for _ in 0..20 {
            let reach = reach_m / 100_000.0;
            let place = Place {
                longitude: (middle.longitude + random(-reach, reach) * 3.0).clamp(-180.0, 179.9),
                latitude: (middle.latitude + random(-reach, reach)).clamp(LATITUDES[0], 85.0),
            };
            if area.distance_within_m(place).is_some() {
                within += 1;
                covered += usize::from(cells.iter().any(|cell| cell.scores().contains(&place.score())));
            }
        }
    }
    assert!(within > 50_000, "{within} places are within");
    // Near the poles the cells around one may not reach far enough to the east: Redis misses as many.
    assert!(within - covered <= within / 1000, "{} of {within} are not covered", within - covered);
}

#[test]
fn distances_are_those_of_a_globe() {
    let [a, b] = [(0.0, 0.0), (180.0, 0.0)].map(|(longitude, latitude)| Place { longitude, latitude });
    assert!((distance_m(a, b) - 20_020_741.0).abs() < 1_000.0);
    let north = Place { longitude: 0.0, latitude: 45.0 };
    assert!((distance_m(a, north) * 4.0 - distance_m(a, b)).abs() < 0.001);
}
