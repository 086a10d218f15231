//! SAML 2.0: the gateway as a service provider.
