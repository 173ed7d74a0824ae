import { useConnection, useRooms } from "@tidings/react";
import { FlatList, Pressable, Text, View } from "react-native";

export function Rooms({ onOpen }: { onOpen: (room: string) => void }) {
  const { state, offline } = useConnection();
  const { items, loaded, more, error } = useRooms();
  return (
    <View style={{ flex: 1 }}>
      <Text accessibilityRole="header">{offline ? "No network" : state}</Text>
      <FlatList
        data={items}
        keyExtractor={(room) => room.id}
        onEndReached={() => void more()}
        ListEmptyComponent={<Text>{error?.message ?? (loaded ? "No rooms" : "Loading the rooms")}</Text>}
        renderItem={({ item }) => (
          <Pressable accessibilityRole="button" onPress={() => onOpen(item.id)}>
            <Text>
              {item.name ?? item.peer?.name ?? item.id} ({item.unread})
            </Text>
            <Text numberOfLines={1}>{item.lastMessage?.content}</Text>
          </Pressable>
        )}
      />
    </View>
  );
}
