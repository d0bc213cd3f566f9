;; Transform: emits a block that announces more records than it holds.
(func (export "transform") (param $at i32) (param $len i32) (result i32)
  (i32.store offset=4 (i32.const 1024) (i32.const 1000))
  (i32.store offset=8 (i32.const 1024) (i32.const 7))
  (i32.store offset=20 (i32.const 1024) (i32.const 0x0000000c))
  (i32.store offset=24 (i32.const 1024) (i32.const 0x00000101))
  (call $emit (i32.const 1024) (i32.const 27))
  (call $ok))
