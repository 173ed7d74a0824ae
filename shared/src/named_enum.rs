//! The macro `named_enum` declares an enum and a name for each variant, such as a wire name or the value of a metric
//! label. The variants can be used as indices from 0.

/// Declares an enum whose variants have names.
/// ```ignore
/// named_enum! {
///     /// A direction.
///     pub enum Direction { In = "in", Out = "out" }
/// }
/// ```
macro_rules! named_enum {
    (
        $(#[$meta:meta])*
        pub enum $enum:ident { $($(#[$doc:meta])* $variant:ident = $name:literal),+ $(,)? }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $enum { $($(#[$doc])* $variant),+ }

        impl $enum {
            /// All variants, in the order of the enum.
            pub const ALL: [Self; [$($name),+].len()] = [$(Self::$variant),+];

            /// The name of the variant.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $name),+
                }
            }
        }
    };
}

pub(crate) use named_enum;
