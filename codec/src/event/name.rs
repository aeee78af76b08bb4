//! What a member of an event is, by its name.

use std::borrow::Cow;

use super::added::is_added;
use super::view::is_attribute_name;

/// An attribute or the data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Name {
    // The specification's, of versions 1.0 and 0.3.
    SpecVersion,
    Id,
    Source,
    Type,
    DataContentType,
    DataContentEncoding,
    DataSchema,
    SchemaUrl,
    Subject,
    Time,
    Data,
    DataBase64,
    // Extensions that say where an event of ours stands.
    PartitionKey,
    Epoch,
    Lane,
    Sequence,
    Snapshot,
    Chunk,
    Number,
    ChunkSize,
    After,
    Delivery,
    /// An extension that a server added.
    Added,
    /// Any other extension.
    Other,
}

impl Name {
    /// How many there are.
    const COUNT: usize = Self::Other as usize + 1;

    /// `None` for what no attribute may be called.
    pub(super) fn of(name: &str) -> Option<Self> {
        Some(match name {
            "specversion" => Self::SpecVersion,
            "id" => Self::Id,
            "source" => Self::Source,
            "type" => Self::Type,
            "datacontenttype" => Self::DataContentType,
            "datacontentencoding" => Self::DataContentEncoding,
            "dataschema" => Self::DataSchema,
            "schemaurl" => Self::SchemaUrl,
            "subject" => Self::Subject,
            "time" => Self::Time,
            "data" => Self::Data,
            "data_base64" => Self::DataBase64,
            "partitionkey" => Self::PartitionKey,
            "epoch" => Self::Epoch,
            "lane" => Self::Lane,
            "sequence" => Self::Sequence,
            "snapshot" => Self::Snapshot,
            "chunk" => Self::Chunk,
            "number" => Self::Number,
            "chunksize" => Self::ChunkSize,
            "after" => Self::After,
            "delivery" => Self::Delivery,
            _ if is_added(name) => Self::Added,
            _ if is_attribute_name(name) => Self::Other,
            _ => return None,
        })
    }
}

/// The texts of an event's attributes, each in its place.
#[derive(Debug, Default)]
pub(super) struct Texts<'a>([Option<Cow<'a, str>>; Name::COUNT]);

impl<'a> Texts<'a> {
    pub(super) fn get(&self, name: Name) -> Option<&str> {
        self.0[name as usize].as_deref()
    }

    pub(super) fn take(&mut self, name: Name) -> Option<Cow<'a, str>> {
        self.0[name as usize].take()
    }

    #[inline]
    pub(super) fn put(&mut self, name: Name, text: Cow<'a, str>) {
        self.0[name as usize] = Some(text);
    }
}
