<?php

// SimpleSAMLphp as the tests run it. What a test decides, and all that is written, is in the folder $SAML_HOME.
$home = getenv('SAML_HOME');

$config = [
    'baseurlpath' => getenv('SAML_BASE') . '/',
    'certdir' => "$home/",
    'loggingdir' => "$home/",
    'datadir' => "$home/",
    'tempdir' => "$home/tmp",
    'metadatadir' => __DIR__ . '/metadata/',
    'timezone' => 'UTC',
    'secretsalt' => 'a test has no secrets',
    'auth.adminpassword' => 'a test has no administrator',
    'technicalcontact_email' => 'na@example.test',
    'admin.checkforupdates' => false,

    'logging.handler' => 'errorlog',
    'logging.level' => SimpleSAML\Logger::NOTICE,
    'showerrors' => true,
    'errorreporting' => false,

    'enable.saml20-idp' => true,
    'module.enable' => ['exampleauth' => true, 'core' => true, 'saml' => true],

    // Plain HTTP: a cookie that is for TLS alone, or for other sites (which must be so), would not come back.
    'session.cookie.secure' => false,
    'session.cookie.samesite' => null,
    'language.cookie.secure' => false,
    'language.cookie.samesite' => null,
    'store.type' => 'sql',
    'store.sql.dsn' => "sqlite:$home/sessions.sq3",

    'metadata.sources' => array_merge(
        [['type' => 'flatfile']],
        array_map(function ($file) {
            return ['type' => 'xml', 'file' => $file];
        }, glob("$home/sp-*.xml"))
    ),
];
