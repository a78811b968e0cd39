//! Ranges of versions, and what a peer serves.

use std::fmt;

use crate::{ApiKey, messages::ApiVersionsResponse};

/// Versions from `min` to `max`, both included; empty if `max` is below `min`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VersionRange {
    /// The oldest version.
    pub min: i16,
    /// The newest version.
    pub max: i16,
}

impl VersionRange {
    /// No version at all.
    pub const NONE: Self = Self::new(0, -1);

    /// Versions from `min` to `max`.
    pub const fn new(min: i16, max: i16) -> Self {
        Self { min, max }
    }

    /// Whether the range has no version.
    pub const fn is_empty(self) -> bool {
        self.max < self.min
    }

    /// Whether the range has this version.
    pub const fn contains(self, version: i16) -> bool {
        self.min <= version && version <= self.max
    }

    /// The versions that both ranges have.
    pub const fn intersect(self, other: Self) -> Self {
        Self {
            min: if self.min > other.min { self.min } else { other.min },
            max: if self.max < other.max { self.max } else { other.max },
        }
    }

    /// The versions of this range that are not above `max`: for limits that do not come from the peer.
    pub const fn at_most(self, max: i16) -> Self {
        self.intersect(Self::new(i16::MIN, max))
    }

    /// All versions, oldest first.
    pub fn iter(self) -> impl DoubleEndedIterator<Item = i16> {
        self.min..=self.max
    }
}

impl fmt::Display for VersionRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            f.write_str("none")
        } else if self.min == self.max {
            write!(f, "{}", self.min)
        } else {
            write!(f, "{}-{}", self.min, self.max)
        }
    }
}

/// What the peer at the other end of a connection serves, as its ApiVersions response says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ApiVersionRanges {
    /// By API key, each once.
    ranges: Vec<(i16, VersionRange)>,
}

impl ApiVersionRanges {
    /// What a response says. Of a key that stands there twice, the first entry counts.
    pub fn from_response(response: &ApiVersionsResponse<'_>) -> Self {
        let ranges = response
            .api_keys
            .iter()
            .map(|api| (api.api_key, VersionRange::new(api.min_version, api.max_version)));
        ranges.collect()
    }

    /// What the peer serves of an API; empty if nothing.
    pub fn range(&self, api: ApiKey) -> VersionRange {
        self.ranges
            .binary_search_by_key(&(api as i16), |(key, _)| *key)
            .map_or(VersionRange::NONE, |i| self.ranges[i].1)
    }

    /// The version to use for a request: the highest that the peer serves, that `ours` allows and that this crate can
    /// write and is stable. `None`: there is none, and the request is not to be sent (UNSUPPORTED_VERSION).
    pub fn negotiate(&self, api: ApiKey, ours: VersionRange) -> Option<i16> {
        // VER-1
        let common = self.range(api).intersect(ours).intersect(api.versions());
        (!common.is_empty()).then_some(common.max)
    }

    /// All that the peer serves, by API key, APIs unknown here included.
    pub fn iter(&self) -> impl Iterator<Item = (i16, VersionRange)> {
        self.ranges.iter().copied()
    }
}

impl FromIterator<(i16, VersionRange)> for ApiVersionRanges {
    fn from_iter<T: IntoIterator<Item = (i16, VersionRange)>>(ranges: T) -> Self {
        let mut ranges: Vec<_> = ranges.into_iter().collect();
        ranges.sort_by_key(|(key, _)| *key);
        ranges.dedup_by_key(|(key, _)| *key);
        Self { ranges }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(ranges: &[(ApiKey, i16, i16)]) -> ApiVersionRanges {
        ranges.iter().map(|&(api, min, max)| (api as i16, VersionRange::new(min, max))).collect()
    }

    #[test]
    fn the_highest_common_version_is_chosen() {
        // VER-1
        let peer = peer(&[(ApiKey::Metadata, 0, 9), (ApiKey::Produce, 0, 99), (ApiKey::Fetch, 17, 18)]);
        assert_eq!(peer.negotiate(ApiKey::Metadata, ApiKey::Metadata.versions()), Some(9));
        assert_eq!(peer.negotiate(ApiKey::Produce, ApiKey::Produce.versions()), Some(13));
        assert_eq!(peer.negotiate(ApiKey::Produce, ApiKey::Produce.versions().at_most(12)), Some(12));
        assert_eq!(peer.negotiate(ApiKey::Fetch, VersionRange::new(4, 16)), None, "no version in common");
        assert_eq!(peer.negotiate(ApiKey::InitProducerId, VersionRange::new(0, 5)), None, "not served");
        assert_eq!(peer.negotiate(ApiKey::Produce, VersionRange::NONE), None, "nothing allowed");
    }

    #[test]
    fn an_unstable_version_is_never_chosen() {
        // VER-5: InitProducerId 6 exists in the tables and is not in force
        let peer = peer(&[(ApiKey::InitProducerId, 0, 6)]);
        assert_eq!(peer.negotiate(ApiKey::InitProducerId, VersionRange::new(0, 6)), Some(5));
    }

    #[test]
    fn a_range_the_wrong_way_round_is_empty() {
        // VER-1
        let peer = peer(&[(ApiKey::Metadata, 9, 0), (ApiKey::Fetch, i16::MIN, -1)]);
        assert_eq!(peer.negotiate(ApiKey::Metadata, ApiKey::Metadata.versions()), None);
        assert_eq!(peer.negotiate(ApiKey::Fetch, ApiKey::Fetch.versions()), None);
    }

    #[test]
    fn ranges_print_for_people() {
        assert_eq!(VersionRange::new(3, 13).to_string(), "3-13");
        assert_eq!(VersionRange::new(0, 0).to_string(), "0");
        assert_eq!(VersionRange::NONE.to_string(), "none");
    }
}
