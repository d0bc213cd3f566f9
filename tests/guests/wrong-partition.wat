;; Partitioner: answers with one number, which is the number of partitions.
(func (export "partition") (param $at i32) (param $len i32) (param $partitions i32) (result i32)
  (i32.store (i32.const 1024) (local.get $partitions))
  (i32.store (i32.const 0) (i32.const 0))
  (i32.store (i32.const 4) (i32.const 1024))
  (i32.store (i32.const 8) (i32.const 1))
  (i32.const 0))
