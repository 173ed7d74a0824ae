import type { Message, RoomPosition } from "@tidings/client";
import { useDraft, useMessages, useRead } from "@tidings/react";
import { useCallback, useEffect, useMemo, useRef } from "react";
import { Button, FlatList, Text, TextInput, View, type ViewToken } from "react-native";

export function Room({ id, at, onBack }: { id: string; at: RoomPosition; onBack: () => void }) {
  const { items, phase, hasNewer, loadOlder, loadNewer, error } = useMessages(id, { at });
  const { seen } = useRead(id);
  const { content, set, send } = useDraft(id);
  const newestFirst = useMemo(() => [...items].reverse(), [items]);
  const list = useRef<FlatList<Message>>(null);

  // Shows the message of a tapped notification once it is loaded.
  const target = newestFirst.findIndex((message) => message.seq === at);
  const scrolled = useRef(false);
  useEffect(() => {
    if (target < 0 || scrolled.current) return;
    scrolled.current = true;
    list.current?.scrollToIndex({ index: target, viewPosition: 0.5, animated: false });
  }, [target]);

  const onViewableItemsChanged = useCallback(
    ({ viewableItems }: { viewableItems: ViewToken<Message>[] }) => {
      seen(Math.max(0, ...viewableItems.map(({ item }) => item.seq ?? 0)));
    },
    [seen],
  );

  return (
    <View style={{ flex: 1 }}>
      <Button title="All rooms" onPress={onBack} />
      {phase === "live" ? null : <Text>{error?.message ?? phase}</Text>}
      <FlatList
        ref={list}
        inverted
        data={newestFirst}
        keyExtractor={(message) => message.key}
        renderItem={({ item }) => (
          <Text>
            {item.sender.name ?? item.sender.id}: {item.content} {item.status === "sent" ? "" : item.status}
          </Text>
        )}
        // The rows before the target are not measured yet: scrolls near to it, and then exactly.
        onScrollToIndexFailed={({ index, averageItemLength }) => {
          list.current?.scrollToOffset({ offset: index * averageItemLength, animated: false });
          setTimeout(() => list.current?.scrollToIndex({ index, viewPosition: 0.5 }), 100);
        }}
        onEndReached={() => void loadOlder()}
        onStartReached={() => void (hasNewer && loadNewer())}
        onViewableItemsChanged={onViewableItemsChanged}
        viewabilityConfig={{ itemVisiblePercentThreshold: 50, minimumViewTime: 200 }}
      />
      <TextInput
        accessibilityLabel="Message"
        placeholder="Message"
        value={content}
        onChangeText={(text) => set({ content: text })}
      />
      <Button title="Send" disabled={content.trim() === ""} onPress={() => send()} />
    </View>
  );
}
