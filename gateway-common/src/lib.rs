//! Types that cross the boundary between the kernel programs and the gateway.
#![no_std]
