//! Numbers kept in the order of the names they stand for, in chunks: four bytes an entry, and an insertion moves a
//! few hundred of them at most.

/// Entries of a chunk before it is split.
const CHUNK_MAX: usize = 512;

/// Numbers of one folder's entries, by name.
#[derive(Debug, Default)]
pub(super) struct Order {
    chunks: Vec<Vec<u32>>,
}

/// A place between two entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    chunk: usize,
    at: usize,
}

impl Order {
    /// Before the first.
    pub(super) const START: Place = Place { chunk: 0, at: 0 };

    pub(super) fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// Bytes on the heap.
    pub(super) fn heap_bytes(&self) -> usize {
        let chunks: usize = self.chunks.iter().map(|chunk| chunk.capacity() * size_of::<u32>()).sum();
        chunks + self.chunks.capacity() * size_of::<Vec<u32>>()
    }

    /// The place of the first entry that is not before `is_before`.
    fn seek(&self, is_before: impl Fn(u32) -> bool) -> Place {
        let chunk = self.chunks.partition_point(|chunk| chunk.last().is_some_and(|n| is_before(*n)));
        let at = self.chunks.get(chunk).map_or(0, |chunk| chunk.partition_point(|n| is_before(*n)));
        Place { chunk, at }
    }

    /// The place after every entry of this name and of names before it.
    pub(super) fn after<'a>(&self, name: &str, name_of: impl Fn(u32) -> &'a str) -> Place {
        self.seek(|number| name_of(number) <= name)
    }

    /// The number of an entry of this name that `is_it`.
    pub(super) fn find<'a>(
        &self,
        name: &str,
        name_of: impl Fn(u32) -> &'a str,
        is_it: impl Fn(u32) -> bool,
    ) -> Option<u32> {
        let mut place = self.seek(|number| name_of(number) < name);
        while let Some(number) = self.next(&mut place) {
            if name_of(number) != name {
                return None;
            }
            if is_it(number) {
                return Some(number);
            }
        }
        None
    }

    /// The entry after a place, which moves past it.
    pub(super) fn next(&self, place: &mut Place) -> Option<u32> {
        let mut chunk = self.chunks.get(place.chunk)?;
        if place.at >= chunk.len() {
            *place = Place { chunk: place.chunk + 1, at: 0 };
            chunk = self.chunks.get(place.chunk)?;
        }
        let number = *chunk.get(place.at)?;
        place.at += 1;
        Some(number)
    }

    pub(super) fn insert<'a>(&mut self, number: u32, name: &str, name_of: impl Fn(u32) -> &'a str) {
        let mut place = self.after(name, name_of);
        if place.chunk == self.chunks.len() && place.chunk > 0 {
            // Beyond the last name: it joins the last chunk.
            place.chunk -= 1;
            place.at = self.chunks[place.chunk].len();
        }
        let Some(chunk) = self.chunks.get_mut(place.chunk) else {
            self.chunks.push(vec![number]);
            return;
        };
        chunk.insert(place.at, number);
        if chunk.len() > CHUNK_MAX {
            let upper = chunk.split_off(CHUNK_MAX / 2);
            self.chunks.insert(place.chunk + 1, upper);
        }
    }

    /// Takes an entry out; whether it was there.
    pub(super) fn remove<'a>(&mut self, number: u32, name: &str, name_of: impl Fn(u32) -> &'a str) -> bool {
        let mut place = self.seek(|n| name_of(n) < name);
        loop {
            let mut next = place;
            match self.next(&mut next) {
                Some(found) if found == number => break place = next,
                Some(found) if name_of(found) == name => place = next,
                _ => return false,
            }
        }
        let chunk = &mut self.chunks[place.chunk];
        chunk.remove(place.at - 1);
        if chunk.is_empty() {
            self.chunks.remove(place.chunk);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        #[test]
        fn it_is_as_a_sorted_map(
            steps in proptest::collection::vec((any::<bool>(), 0_u32..3_000), 1..4_000),
            from in 0_u32..3_000,
        ) {
            // The name of a number is its digits backwards, so that the order is another than the numbers'.
            let names: Vec<String> = (0..3_000_u32).map(|n| n.to_string().chars().rev().collect()).collect();
            let name_of = |n: u32| names[n as usize].as_str();
            let mut order = Order::default();
            let mut model = BTreeMap::new();
            for (insert, number) in steps {
                let name = name_of(number);
                if insert {
                    if model.insert((name, number), ()).is_none() {
                        order.insert(number, name, name_of);
                    }
                } else {
                    let there = model.remove(&(name, number)).is_some();
                    prop_assert_eq!(order.remove(number, name, name_of), there);
                }
            }
            let mut place = order.after(name_of(from), name_of);
            let mut seen = Vec::new();
            while let Some(number) = order.next(&mut place) {
                seen.push(number);
            }
            let wanted: Vec<(&str, u32)> =
                model.keys().copied().filter(|(name, _)| *name > name_of(from)).collect();
            prop_assert_eq!(seen.iter().map(|n| name_of(*n)).collect::<Vec<_>>(), wanted.iter().map(|w| w.0).collect::<Vec<_>>());
        }
    }
}
