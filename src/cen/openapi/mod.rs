//! The cloud's OpenAPI: signatures, parameters, errors and one row per action.
