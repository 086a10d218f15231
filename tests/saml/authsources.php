<?php

$config = [
    'people' => [
        'exampleauth:UserPass',
        'ada:ada' => [
            'uid' => ['ada'],
            'mail' => ['ada@example.test'],
            'displayName' => ['Ada Okafor'],
            'groups' => ['dba', 'staff'],
        ],
        'bob:bob' => [
            'uid' => ['bob'],
            'mail' => ['bob@example.test'],
            'displayName' => ['Bob Lindqvist'],
            'groups' => ['staff'],
        ],
    ],
];
