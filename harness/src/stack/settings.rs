//! The settings of a stack's nodes: addresses, secrets, and values for tests.

use crate::node::Service;

/// The settings of the nodes of one stack.
pub(super) struct Settings {
    pub(super) redis_url: String,
    pub(super) database_url: String,
    pub(super) jwt_secret: String,
    pub(super) internal_secret: String,
    pub(super) persistence_urls: String,
    pub(super) gateway: Vec<(String, String)>,
    pub(super) persistence: Vec<(String, String)>,
}

impl Settings {
    pub(super) fn for_service(&self, service: Service) -> Vec<(String, String)> {
        let mut settings = vec![
            ("REDIS_URL", self.redis_url.as_str()),
            ("TIDINGS_JWT_SECRET", &self.jwt_secret),
            ("TIDINGS_INTERNAL_SECRET", &self.internal_secret),
        ];
        let more = match service {
            Service::Gateway => {
                settings.push(("TIDINGS_PERSISTENCE_URLS", &self.persistence_urls));
                // Each worker is a complete runtime, and a test machine runs many nodes at once.
                settings.push(("TIDINGS_WORKERS", "2"));
                // The time is short, so that tests end soon. Tests of draining set their own time.
                settings.push(("TIDINGS_DRAIN_MS", "1000"));
                &self.gateway
            }
            Service::Persistence => {
                settings.push(("DATABASE_URL", &self.database_url));
                // The rates are high, because tests send faster than humans. Tests of the rate limits set their own
                // rates.
                settings.push(("TIDINGS_MESSAGES_PER_SECOND", "100000"));
                settings.push(("TIDINGS_MESSAGES_BURST", "100000"));
                settings.push(("TIDINGS_MARKS_PER_SECOND", "100000"));
                settings.push(("TIDINGS_PRESENCE_PER_SECOND", "100000"));
                settings.push(("TIDINGS_READS_PER_SECOND", "100000"));
                // Some tests create more rooms, or name more users, than one account may per day.
                settings.push(("TIDINGS_ROOMS_PER_DAY", "1000000"));
                settings.push(("TIDINGS_MEMBERS_PER_DAY", "100000000"));
                settings.push(("TIDINGS_NEW_USERS_PER_DAY", "100000000"));
                &self.persistence
            }
        };
        let settings = settings.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
        settings.chain(more.iter().cloned()).collect()
    }
}
