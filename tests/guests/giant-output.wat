;; Transform: emits the same block of one record of 64 KiB without end.
(func (export "transform") (param i32 i32) (result i32)
  (local $block i32)
  (local.set $block (i32.const 1024))
  (i32.store offset=4 (local.get $block) (i32.const 1))
  (i32.store offset=8 (local.get $block) (i32.const 65011))
  ;; A record of 65008 bytes: no key, a value of 65000 zeros, no headers.
  (i32.store offset=20 (local.get $block) (i32.const 0x0007f7e0))
  (i32.store offset=24 (local.get $block) (i32.const 0xd0010000))
  (i32.store offset=28 (local.get $block) (i32.const 0x000007f7))
  (loop $more
    (call $emit (local.get $block) (i32.const 65031))
    (br $more))
  unreachable)
