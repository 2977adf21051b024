//! Opens the maps that are pinned in a folder.

use std::path::Path;

use aya::maps::{Map, MapData, MapError};

/// A map that is missing, or refuses what it was given.
#[derive(Debug, thiserror::Error)]
#[error("map `{name}`: {source}")]
pub struct MapsError {
    /// The map.
    pub name: &'static str,
    /// Why.
    pub source: MapError,
}

/// Opens a pinned map as its type.
pub(in crate::reflector) fn open<T: TryFrom<Map, Error = MapError>>(
    pins: &Path,
    name: &'static str,
) -> Result<T, MapsError> {
    let map = MapData::from_pin(pins.join(name)).and_then(Map::from_map_data).and_then(T::try_from);
    map.map_err(|source| MapsError { name, source })
}
