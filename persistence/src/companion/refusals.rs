//! The OpenAPI document of a program beside persistence: the scheme of the token, and the refusals that all operations
//! have.

use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{Content, OpenApi, Ref, RefOr, Response};

use crate::http::problem::PROBLEM_JSON;

/// Adds the scheme of the token, and the refusals that all operations have, as problem documents. `forbidden` says when
/// the answer is 403.
pub fn describe_refusals(document: &mut OpenApi, forbidden: &str) {
    let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("JWT").build();
    let components = document.components.get_or_insert_default();
    components.add_security_scheme("bearer", SecurityScheme::Http(bearer));
    for item in document.paths.paths.values_mut() {
        let operations =
            [&mut item.get, &mut item.head, &mut item.post, &mut item.put, &mut item.patch, &mut item.delete]
                .into_iter()
                .flatten();
        for operation in operations.filter(|operation| operation.security.is_none()) {
            let answers = &mut operation.responses.responses;
            for (status, description) in [
                ("400", "A field, a parameter or the body is wrong"),
                ("401", "There is no valid token"),
                ("403", forbidden),
                ("503", "The database is unavailable; retry"),
            ] {
                let answer = answers.entry(status.to_owned());
                answer.or_insert_with(|| RefOr::T(Response::new(description)));
            }
            for (_, answer) in answers.iter_mut().filter(|(status, _)| status.as_str() >= "400") {
                if let RefOr::T(answer) = answer {
                    let problem = Content::new(Some(Ref::from_schema_name("Problem")));
                    answer.content.insert(PROBLEM_JSON.to_owned(), RefOr::T(problem));
                }
            }
        }
    }
}
