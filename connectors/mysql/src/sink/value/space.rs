//! GEOMETRY and VECTOR, as the bytes that the server itself keeps: no text form stands between.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flowd_sink::image::Value;
use flowd_sink::rows::value::is_no;
use serde::Deserialize;

use crate::sink::sql;

/// `{"wkb":…,"srid":…}`; x and y of a point say nothing more.
#[derive(Deserialize)]
struct Geometry {
    wkb: String,
    #[serde(default)]
    srid: Option<u32>,
}

pub(super) fn geometry(value: &Value<'_>, out: &mut Vec<u8>) -> Result<(), String> {
    let wrong = || is_no(value, "geometry {\"wkb\":…,\"srid\":…}");
    let Value::Structure(text) = value else { return Err(wrong()) };
    let geometry: Geometry = serde_json::from_str(text).map_err(|_| wrong())?;
    let mut bytes = geometry.srid.unwrap_or(0).to_le_bytes().to_vec();
    STANDARD.decode_vec(geometry.wkb.as_bytes(), &mut bytes).map_err(|_| wrong())?;
    sql::bytes(&bytes, out);
    Ok(())
}

pub(super) fn vector(value: &Value<'_>, out: &mut Vec<u8>) -> Result<(), String> {
    let wrong = || is_no(value, "array of numbers");
    let Value::Structure(text) = value else { return Err(wrong()) };
    let numbers: Vec<f32> = serde_json::from_str(text).map_err(|_| wrong())?;
    let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
    sql::bytes(&bytes, out);
    Ok(())
}
